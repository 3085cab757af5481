"""The content of the console's pages: forms from models, problems, lists and pasted manifests."""

from __future__ import annotations

import re
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest
from fakes.console import NOW, FakeVault, World

from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.console import app, charts, definition_form, health, pasted_manifest
from regcred.console.fleet import Fleet, ProjectOverview, RegistryRow
from regcred.console.forms import Form
from regcred.console.handlers.registries import PAGE
from regcred.console.interface import ConsoleOptions, Who
from regcred.console.vault_reader import Reader
from regcred.errors import MalformedError, RefusedError, TransientError
from regcred.registry import catalog
from regcred.registry_reference import Reference
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.history import Attempt
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store


@pytest.mark.parametrize("provider", catalog.names())
def test_the_form_of_each_provider_has_the_fields_of_its_model(provider):
    first, rest = definition_form.fields_of(provider, {})
    names = {field.name for field in (*first, *rest)}
    assert names == set(catalog.definition_model(provider).model_fields) - {"provider"}
    assert all(field.help for field in (*first, *rest)), "each field has a help text"


@pytest.mark.parametrize(
    "provider", [name for name in catalog.names() if "auth" in catalog.definition_model(name).model_fields]
)
def test_the_form_selects_the_first_auth_method(provider):
    field = next(field for field in definition_form.fields_of(provider, {})[0] if field.name == "auth")
    assert field.value == field.choices[0]


def test_the_values_of_a_form_become_a_definition():
    typed = Form(
        [("regions", "eu-west-1\neu-central-1"), ("account", " 123456789012 "), ("endpoints", "standard")]
    )
    definition, errors = definition_form.check("ecr", definition_form.content_of("ecr", typed))
    assert errors == {}
    assert definition is not None
    assert definition.content() == {
        "provider": "ecr",
        "regions": ["eu-west-1", "eu-central-1"],
        "account": "123456789012",
        "endpoints": ["standard"],
    }


def test_errors_are_reported_at_their_field():
    typed = Form([("regions", "nowhere-1"), ("account", "12")])
    _, errors = definition_form.check("ecr", definition_form.content_of("ecr", typed))
    assert set(errors) == {"regions", "account"}
    assert "not an AWS region" in errors["regions"]
    both = Form([("regions", "eu-west-1"), ("regions_", ""), ("create_repositories", "yes")])
    _, errors = definition_form.check("ecr", definition_form.content_of("ecr", both))
    assert list(errors) == ["create_repositories"]


def test_the_form_has_fields_for_secrets_only_if_the_definition_needs_one():
    assert definition_form.secrets_of("gar", {"hosts": ["gcr.io"]}) == []
    fields = definition_form.secrets_of("gar", {"hosts": ["gcr.io"], "auth": "key"})
    assert [field.input for field in fields] == [definition_form.Input.LONG_SECRET]
    login = definition_form.secrets_of("basic", {})
    assert [field.name for field in login if not field.second] == ["secret.username", "secret.password"]


@pytest.mark.parametrize(
    ("provider", "content", "has_second"),
    [
        ("basic", {}, True),
        ("quay", {"auth": "static"}, True),
        ("dockerhub", {"auth": "static"}, True),
        ("dockerhub", {"organisation": "example"}, False),
        ("harbor", {}, False),
        ("gar", {"hosts": ["gcr.io"], "auth": "key"}, False),
    ],
)
def test_the_form_has_a_second_login_only_if_the_login_itself_is_the_credential(
    provider, content, has_second
):
    found = definition_form.secrets_of(provider, content)
    assert found
    second = [field.name for field in found if field.second]
    assert second == (["secret.username_2", "secret.password_2"] if has_second else [])


def test_a_second_login_needs_both_fields():
    fields = definition_form.secrets_of("basic", {})
    first = [("secret.username", "a"), ("secret.password", "b")]
    assert definition_form.secret_of(fields, Form(first)) == ({"username": "a", "password": "b"}, {})
    _, missing = definition_form.secret_of(fields, Form([*first, ("secret.password_2", "d")]))
    assert missing == {"secret.username_2": "is missing"}


def test_a_form_never_shows_a_secret_again():
    form = Form([("csrf", "x"), ("registry", "r"), ("secret.password", "p"), ("password", "q")])
    assert form.typed() == [("registry", "r")]
    assert "p" not in repr(form).replace("password", "")


def entry(**given):
    base = {"state": State.OK, "version": 3, "provider": "ecr", "hosts": ["h.example.com"], "changed_at": NOW}
    return IndexEntry(**{**base, **given})


def row(**given):
    return RegistryRow(Reference("payments", "main"), entry(**given), defined=True)


LIVES = [
    (timedelta(hours=12), timedelta(hours=6), 1.0),
    (timedelta(hours=6), timedelta(0), 0.5),
    (timedelta(hours=1), timedelta(hours=-5), 1 / 12),
    (timedelta(hours=-1), timedelta(hours=-7), 0.0),
]


@pytest.mark.parametrize(("ends", "renewed", "left"), LIVES)
def test_the_remaining_life_is_computed_from_the_index_entry(ends, renewed, left):
    found = health.life_left(row(expires_at=NOW + ends, refresh_at=NOW + renewed), NOW)
    assert found == pytest.approx(left)


@pytest.mark.parametrize("state", [State.REVOKED, State.REMOVED])
def test_a_revoked_or_removed_credential_is_not_expiring(state):
    ended = row(state=state, expires_at=NOW - timedelta(hours=1), refresh_at=NOW - timedelta(hours=7))
    assert not health.is_expiring(ended, NOW)
    assert health.life_left(ended, NOW) is None


def fleet(*rows, statuses=None, entries=None, clusters=("c1",)):
    project = ProjectOverview(
        "payments", entries or {}, (), ProjectPolicy(clusters=list(clusters)), statuses or {}
    )
    return Fleet(NOW, {"payments": project}, rows, tuple(clusters), whole=False)


def test_problems_are_listed_with_a_remedy_and_the_gravest_first():
    mild = row(warning="can push")
    grave = row(state=State.FAILING, error="refused", failing_since=NOW - timedelta(hours=2))
    found, total = health.needs(fleet(mild, grave), NOW)
    assert total == 2
    assert [need.grave for need in found] == [True, False]
    assert found[0].what == "failing for 2h: refused"
    assert all(need.todo for need in found)


def test_a_cluster_that_stopped_writing_its_status_is_a_problem():
    old = Status(written_at=NOW - timedelta(hours=1))
    found, _ = health.needs(fleet(statuses={"c1": old}), NOW)
    assert [need.about for need in found] == ["c1"]
    fresh = Status(written_at=NOW - timedelta(minutes=11))
    assert health.needs(fleet(statuses={"c1": fresh}), NOW) == ([], 0)


def test_a_cluster_counts_placed_outdated_refused_and_held_secrets():
    place = Placement(
        placed={3: {"a": "x", "b": "x"}, 2: {"c": "x"}},
        refused={"d": "clash", "e": "unneeded"},
        held={"c": "unneeded"},
    )
    status = Status(written_at=NOW, mode="admission", registries={"main": place})
    (cluster,) = health.clusters(fleet(statuses={"c1": status}, entries={"main": entry()}))
    assert (cluster.namespaces, cluster.behind, cluster.refused, cluster.mode) == (3, 1, 1, "admission")
    assert cluster.held == 1


def test_held_removals_are_a_problem():
    status = Status(written_at=NOW, registries={"main": Placement(held={"a": "unneeded", "b": "removed"})})
    ((need,), total) = health.needs(fleet(statuses={"c1": status}), NOW)
    assert (need.about, need.path, total) == ("c1", "/clusters/c1#held", 1)
    assert "2 removals" in need.what


def test_the_day_ahead_counts_expiring_credentials_by_hour():
    rows = [
        row(expires_at=NOW + timedelta(minutes=30)),
        row(expires_at=NOW + timedelta(hours=5, minutes=1), state=State.FAILING),
        row(expires_at=NOW + timedelta(hours=24)),
        row(expires_at=NOW - timedelta(minutes=1)),
        row(),
    ]
    hours = health.day_ahead(rows, NOW)
    assert [(hour.count, hour.at_risk) for hour in hours if hour.count] == [(1, 0), (1, 1)]
    assert [bar.x for bar in charts.bars(hours) if bar.count] == [0, 5]


def test_outcomes_are_drawn_oldest_first():
    outcomes = [
        charts.outcome(Attempt(NOW, word, 1, took, kind))
        for word, took, kind in (("failing", 900, "refused"), ("rotated", 90, ""))
    ]
    bars = charts.outcomes(outcomes)
    assert [bar.outcome.failed for bar in bars] == [False, True]
    assert bars[0].height < bars[1].height


POD = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\nspec: {containers: [{name: a, image: "
    "x.example.com/a:1}]}\n"
)


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("registry.example.com/team/app:1", 1),
        ("a.example.com/b\nc.example.com/d@sha256:" + "0" * 64, 2),
        (POD, 1),
        (f"{POD}---\n{POD}", 2),
        ("apiVersion: v1\nkind: List\nitems:\n- " + POD.replace("\n", "\n  "), 1),
        (
            (
                '{"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": '
                '[{"image": "x/y"}]}}}}}}'
            ),
            1,
        ),
    ],
)
def test_pasted_manifests_and_image_names_are_read(text, images):
    assert sum(len(item.subject.images) for item in pasted_manifest.read(text)) == images


@pytest.mark.parametrize(
    "text", ["", "   ", "kind: Service\nspec: {}", "a: [", "x" * 70_000, "- 1\n- 2\n", "kind: Pod\nspec: 5"]
)
def test_text_without_pods_is_refused(text):
    with pytest.raises(MalformedError):
        pasted_manifest.read(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (POD + "  a: [", "line 5"),
        (POD + "kind: Deployment\n", "line 5"),
        (POD.replace("name: p", "name: p, annotations: {x: " + "[" * 60 + "]" * 60 + "}"), "line 3"),
        (POD.replace("name: p", "name: p, labels: {x: !!int a}"), "a value"),
    ],
    ids=["not YAML", "a key twice", "deep", "a tag"],
)
def test_an_error_in_a_pasted_manifest_names_the_line(text, where):
    with pytest.raises(MalformedError, match=f"the manifest: {where}"):
        pasted_manifest.read(text)


def test_a_pasted_manifest_whose_aliases_expand_without_bound_is_refused():
    """Eight levels of ten aliases are a hundred million values in 400 characters."""
    levels = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 9)]
    bomb = "\n".join(["l0: &l0 [a]", *levels, POD.replace("name: p", "name: p, annotations: {x: *l8}")])
    with pytest.raises(MalformedError, match="too large"):
        pasted_manifest.read(bomb)


def test_a_number_in_a_pasted_manifest_stays_as_it_was_typed():
    (pasted,) = pasted_manifest.read(POD.replace("name: p", "name: 012"))
    assert pasted.title == "Pod 012"


def test_every_route_names_a_page_that_exists():
    """A page's module is imported only at its first request."""
    names = re.findall(r'lazy\("(\w+)\.(\w+)"\)', Path(app.__file__).read_text("utf-8"))
    assert len(names) > 25
    for module, function in names:
        assert callable(getattr(import_module(f"regcred.console.handlers.{module}"), function))


@pytest.fixture
def world():
    world = World()
    store = Store(world.vault.kv)
    store.write_project("payments", ProjectPolicy(), cas=0)
    entries = {f"r-{number:03}": entry(hosts=[f"h{number}.example.com"]) for number in range(100)}
    store.merge_index("payments", entries)
    return world


def test_the_list_has_pages_and_shows_the_current_one(world):
    browser = world.signed_in()
    first, last = browser.get("/registries"), browser.get("/registries?page=99")
    assert first.text.count('name="ref"') == PAGE
    assert re.search(rf"1.{PAGE} of 100", first.text)
    assert "page 3 of 3" in last.text
    assert browser.get("/registries?page=-1&sort=nonsense&order=x").status == 200


def test_a_search_finds_names_and_hosts(world):
    browser = world.signed_in()
    assert browser.get("/registries?q=r-07").text.count('name="ref"') == 10
    assert browser.get("/registries?q=H42.EXAMPLE").text.count('name="ref"') == 1
    assert "No matches" in browser.get("/registries?q=nothing").text


def test_a_list_is_read_again_only_after_a_change_or_when_it_is_old(world):
    browser = world.signed_in()
    browser.get("/registries")
    calls = len(world.vault.kv.calls)
    browser.get("/registries?state=ok")
    assert len(world.vault.kv.calls) == calls
    browser.post(
        "/registries/payments/r-001/do/verify", {"csrf": browser.get("/registries/payments/r-001").csrf}
    )
    before = len(world.vault.kv.calls)
    browser.get("/registries")
    assert len(world.vault.kv.calls) > before
    world.now += timedelta(minutes=3)
    before = len(world.vault.kv.calls)
    browser.get("/registries")
    assert len(world.vault.kv.calls) > before


def test_a_project_that_cannot_be_read_hides_no_other(world):
    store = Store(world.vault.kv)
    store.write_project("broken", ProjectPolicy(), cas=0)
    world.vault.kv.put("credentials/broken/_index", {"document": "{"})
    text = world.signed_in().get("/").text
    assert "the index of broken" in text
    assert "Registries" in text
    world.vault.kv.faults[("list", "registries/broken")] = RefusedError("no")
    assert world.signed_in().get("/registries").text.count('name="ref"') == PAGE


def test_the_page_of_a_project_explains_the_system_registry_if_there_is_one(world):
    browser = world.signed_in()
    assert "regcred system login" not in browser.get("/projects/payments").text
    world.vault.system_registry = "registry.example.com"
    text = browser.get("/projects/payments").text
    assert "docker push registry.example.com/payments/web:1" in text
    assert "docker pull registry.example.com/payments/web:1" in text
    assert "regcred system login" in text


def test_a_request_nudges_dispatch_and_a_failed_nudge_does_not_fail_it(world):
    browser = world.signed_in()
    csrf = browser.get("/registries/payments/r-001").csrf
    assert browser.post("/registries/payments/r-001/do/rotate", {"csrf": csrf}).status == 303
    assert world.nudged == ["payments"]

    def broken(_project):
        raise TransientError("AWS is down")

    world.console.nudge = broken
    assert browser.post("/registries/payments/r-001/do/rotate", {"csrf": csrf}).status == 303


def test_the_command_prints_the_address_and_the_sign_in_link(capsys):
    ran = []

    def serve(port, ready):
        ran.append(port)
        ready("http://127.0.0.1:1234", "http://127.0.0.1:1234/sign-in/ticket?ticket=x")

    assert run(["console", "--port", "0", "--no-browser"], CliSession(run_console=serve)) == 0
    out, err = capsys.readouterr()
    assert ran == [0]
    assert out == "http://127.0.0.1:1234/sign-in/ticket?ticket=x\n"
    assert "the console is at http://127.0.0.1:1234" in err


def test_the_command_reports_a_port_in_use(capsys):
    def serve(_port, _ready):
        raise OSError(98, "Address already in use")

    assert run(["console", "--no-browser"], CliSession(run_console=serve)) == 1
    assert "port 8900 can't be used: address already in use; try --port 0" in capsys.readouterr().err


class TestReader:
    """The cache of what the console reads from Vault."""

    @pytest.fixture
    def world(self):
        vault = FakeVault()
        store = Store(vault.kv)
        store.write_project("payments", ProjectPolicy(clusters=["c1"]), cas=0)
        store.merge_index("payments", {"main": entry()})
        store.write_status("c1", "payments", Status(written_at=NOW), cas=0)
        self.now = NOW
        options = ConsoleOptions(methods=(), fresh=timedelta(seconds=10), stale=timedelta(seconds=10))
        return vault, store, Reader(vault.with_token(vault.give()), options, lambda: self.now)

    WHO = Who("alice", policies=frozenset({"regcred-admins-payments"}))

    def test_an_unchanged_project_is_not_computed_again(self, world):
        _, store, reader = world
        first = reader.fleet(self.WHO)
        self.now += timedelta(minutes=1)
        second = reader.fleet(self.WHO)
        assert second is not first
        assert second.projects["payments"] is first.projects["payments"]
        store.merge_index("payments", {"main": entry(version=4)})
        self.now += timedelta(minutes=1)
        third = reader.fleet(self.WHO)
        assert third.projects["payments"] is not second.projects["payments"]
        assert [row.version for row in third.rows] == [4]

    def test_lists_check_the_status_of_a_cluster_at_most_every_30_seconds(self, world):
        _, store, reader = world
        reader.fleet(self.WHO)
        status = Status(written_at=NOW, mode="admission")
        store.write_status("c1", "payments", status, cas=store.status_version("c1", "payments"))
        modes = []
        for _ in range(3):
            self.now += timedelta(seconds=11)
            modes.append(reader.fleet(self.WHO).projects["payments"].statuses["c1"].mode)
        assert modes == ["", "", "admission"]

    def test_the_page_of_a_project_checks_the_status_each_time_its_data_is_old(self, world):
        _, store, reader = world
        reader.project("payments")
        status = Status(written_at=NOW, mode="admission")
        store.write_status("c1", "payments", status, cas=store.status_version("c1", "payments"))
        self.now += timedelta(seconds=11)
        assert reader.project("payments").statuses["c1"].mode == "admission"


@pytest.mark.parametrize(
    ("provider", "name", "example"),
    [
        ("basic", "hosts", "as in registry.example.com:5000."),
        ("nexus", "users", "as in pull-a and pull-b."),
        ("gar", "hosts", "as in europe-west1-docker.pkg.dev and gcr.io."),
    ],
)
def test_the_example_of_a_list_is_shown_as_it_is_typed_in_a_form(provider, name, example):
    first, rest = definition_form.fields_of(provider, {})
    (field,) = [field for field in (*first, *rest) if field.name == name]
    assert example in field.help
