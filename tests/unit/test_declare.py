"""``diff``, ``apply``, ``export`` and ``schema`` with files and a Vault in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from fakes.collector import collecting, switch_off
from fakes.fleets import NAMES, POLICIES, REGISTRIES
from fakes.key_value import FakeKeyValue
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from regcred import tracing
from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.declare.policy_changes import common_policy
from regcred.errors import (
    ConflictError,
    MalformedError,
    MissingError,
    RefusedError,
    RegcredError,
    TransientError,
)
from regcred.registry.parsing import parse
from regcred.registry.project_policy import check_allowed
from regcred.registry.secret_destination import destination_text
from regcred.registry_reference import Reference
from regcred.vault.platform.declaration import ClusterTrust, Declaration
from regcred.vault.platform.fleet import FoundCluster
from regcred.vault.platform.members import ClusterMembers
from regcred.vault.platform.plan import ChangeKind, PlatformStep
from regcred.vault.platform.resource import Resource, ResourceKind
from regcred.vault.records.declared import ClusterGrants, Definition, ProjectPolicy
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.store import Store
from regcred.wiring.tracing import set_up

NEXUS = Reference("payments", "nexus")
SECRET = "hunter2-upstream"
REMOVED = IndexEntry(state=State.REMOVED, version=1, changed_at=datetime(2026, 11, 23, tzinfo=UTC))

PROJECT = """
apiVersion: regcred.dev/v1
kind: Project
metadata: {name: payments}
spec:
  hosts: [registry.example.com, other.example.com]
  clusters: [c1]
"""
REGISTRY = """
apiVersion: regcred.dev/v1
kind: Registry
metadata: {project: payments, name: nexus}
spec:
  provider: basic
  hosts: [registry.example.com]
secretFrom: {file: secret.yaml}
"""
GRANT = """
apiVersion: regcred.dev/v1
kind: Grant
metadata: {cluster: c1, name: payments}
spec: {namespaces: [web, shop]}
"""


@dataclass
class FakePlatform:
    """The calls of a platform operator. Each cluster is one value here, without resources."""

    ensured: list = field(default_factory=list)
    refuses: bool = False
    set_up: dict[str, FoundCluster] = field(default_factory=dict)
    set_up_platform: Declaration | None = None
    wanted: Declaration | None = None
    hidden: bool = False
    joined: list = field(default_factory=list)
    groups: dict = field(default_factory=dict)
    store: Callable[[], Store] | None = None
    dies: bool = False
    broken: set = field(default_factory=set)
    unavailable: bool = False
    late: dict[str, RegcredError] = field(default_factory=dict)

    def exists(self):
        return self.set_up_platform is not None

    def clusters(self, names=None):
        if self.hidden:
            raise RefusedError("permission denied")
        return {name: found for name, found in self.set_up.items() if names is None or name in names}

    def declaration(self):
        return self.set_up_platform, []

    def platform_steps(self, _on_unreadable):
        mount = Resource(ResourceKind.MOUNT, "regcred")
        return [] if self.wanted == self.set_up_platform else [PlatformStep(ChangeKind.CREATE, mount, {})]

    def cluster_steps(self, trusts, owner=""):
        return {name: self._steps(name, trust, owner) for name, trust in trusts.items()}

    def _steps(self, name, trust, owner):
        found = self.set_up.get(name)
        entity = Resource(ResourceKind.ENTITY, f"regcred-cluster-{name}")
        if found is None:
            return [PlatformStep(ChangeKind.CREATE, entity, {})]
        changed = [
            *(["owner"] if owner and found.owner != owner else []),
            *(["config"] if found.trust != trust else []),
        ]
        return [PlatformStep(ChangeKind.UPDATE, entity, {}, (name,)) for name in changed]

    def write_platform(self):
        self.set_up_platform = self.wanted

    def write_cluster(self, name, trust, owner=""):
        found = self.set_up.get(name)
        if name in self.broken:
            self.set_up[name] = FoundCluster(None)
            raise MalformedError("error checking jwks URL")
        self.set_up[name] = FoundCluster(trust, owner or (found.owner if found else ""))

    def remove_cluster(self, name):
        del self.set_up[name]

    def unjoined(self, clusters, leave_out):
        store = self.store()
        projects = set(store.project_policies()) - set(leave_out)
        found = {
            name: [one for one in projects if name in store.project(one).value.clusters] for name in clusters
        }
        return {name: named for name, named in found.items() if named and name not in self.joined}

    def join(self, clusters):
        if self.unavailable:
            raise TransientError("Vault is sealed")
        self.joined += clusters

    def project_setup(self, _count):
        return self

    def ensure(self, project, clusters=None):
        if self.refuses:
            raise RefusedError("permission denied")
        self.ensured.append(project)
        if self.unavailable:
            raise TransientError("Vault is sealed")
        if self.dies:
            raise KeyboardInterrupt
        found = self.store().project(project) if clusters is None else None
        self.groups[project] = frozenset(found.value.clusters if found else clusters or ())
        return []

    def members(self, projects):
        if self.refuses:
            raise RefusedError("permission denied")
        groups = {name: self.groups[name] for name in projects if name in self.groups}
        return ClusterMembers(groups, frozenset({"c1", "c2", "c3"}))

    def finish(self):
        return self.late


@dataclass
class Fleet:
    """A folder of files, a Vault, and the command line."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    kv: FakeKeyValue = field(default_factory=FakeKeyValue)
    platform: FakePlatform = field(default_factory=FakePlatform)
    other: FakeKeyValue = field(default_factory=FakeKeyValue)
    nudged: list = field(default_factory=list)
    out: str = ""
    err: str = ""

    @property
    def store(self) -> Store:
        return Store(self.kv)

    def write(self, **files: str | None) -> None:
        self.folder.mkdir(exist_ok=True)
        for name, text in files.items():
            path = self.folder / f"{name}.yaml"
            path.unlink(missing_ok=True) if text is None else path.write_text(text)

    def whole(self) -> None:
        self.write(project=PROJECT, registry=REGISTRY, grant=GRANT)
        (self.folder / "secret.yaml").unlink(missing_ok=True)
        (self.folder / ".secret.yaml").write_text(f"username: robot\npassword: {SECRET}\n")
        self.write(registry=REGISTRY.replace("secret.yaml", ".secret.yaml"))

    def __call__(self, line: str, code: int = 0) -> str:
        session = CliSession(
            open_store=lambda: self.store,
            open_operator=self._operator,
            open_vault=lambda _mount: self.other,
            nudge=lambda project: bool(self.nudged.append(project)),
            now=lambda: datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
            sleep=lambda _: None,
        )
        found = run([word.replace("FLEET", str(self.folder)) for word in line.split()], session)
        captured = self.capture.readouterr()
        self.out, self.err = captured.out, captured.err
        assert SECRET not in self.out + self.err
        assert found == code, f"exit code {found}; {self.err}"
        return self.out

    def _operator(self, declared, _folder):
        self.platform.wanted = declared or self.platform.set_up_platform
        self.platform.store = lambda: self.store
        return self.platform

    def writes(self) -> list[str]:
        found = [path for operation, path in self.kv.calls if operation in {"write", "delete"}]
        self.kv.calls.clear()
        return found


def typed(content: str | bytes) -> io.TextIOWrapper:
    """Standard input with this content."""
    return io.TextIOWrapper(io.BytesIO(content if isinstance(content, bytes) else content.encode()))


@pytest.fixture
def fleet(tmp_path, capsys, monkeypatch) -> Fleet:
    monkeypatch.setattr("sys.stdin", typed(""))
    return Fleet(tmp_path / "fleet", capsys)


def test_apply_writes_the_declared_objects_and_a_second_run_writes_nothing(fleet):
    fleet.whole()
    fleet("apply -f FLEET --owner shop")
    assert fleet.store.project("payments").value.hosts == ["other.example.com", "registry.example.com"]
    assert fleet.store.cluster("c1").value.grants == {"payments": ["shop", "web"]}
    upstream = fleet.store.upstream(NEXUS).value
    assert upstream.fields["password"].get_secret_value() == SECRET
    definition = parse(fleet.store.definition(NEXUS).value.content(), where="x")
    assert upstream.bound_to == destination_text(definition)
    assert fleet.store.pending_requests("payments") == ([], [])  # dispatch finds what is new
    assert fleet.nudged == ["payments"]
    assert fleet.platform.ensured == ["payments"]
    fleet.writes()
    fleet("apply -f FLEET --owner shop")
    assert "nothing to do" in fleet.err
    fleet("diff -f FLEET --owner shop --prune")
    assert fleet.writes() == []


def test_a_first_run_writes_project_secret_definition_and_grants_in_this_order(fleet):
    fleet.whole()
    fleet("apply -f FLEET")
    assert fleet.writes() == [
        "platform/projects/payments",
        "upstream/payments/nexus",
        "registries/payments/nexus",
        "platform/clusters/c1",
    ]


@pytest.mark.parametrize("index", ["has an entry", "can't be read"])
def test_a_registry_that_may_have_been_there_before_gets_a_request(fleet, index):
    """Rotate may have revoked it, or its back-off may go on."""
    fleet.whole()
    fleet.store.merge_index("payments", {"nexus": REMOVED})
    if index == "can't be read":
        fleet.kv.faults["read", "credentials/payments/_index"] = RefusedError("not allowed")
    fleet("apply -f FLEET")
    assert fleet.store.pending_requests("payments") == (["nexus"], [])


def test_diff_writes_nothing_and_reports_differences_by_its_exit_code(fleet):
    fleet.whole()
    found = fleet("diff -f FLEET", code=6)
    assert "create Project payments" in found
    assert "create Registry payments/nexus (provider basic; its upstream secret is taken from file" in found
    assert "create Grant c1/payments (+shop; +web)" in found
    assert fleet.writes() == []
    steps = json.loads(fleet("diff -f FLEET -o json", code=6))["steps"]
    assert [(step["verb"], step["kind"]) for step in steps] == [
        ("create", "Project"),
        ("create", "Registry"),
        ("create", "Grant"),
    ]


def test_all_steps_that_remove_rights_come_before_steps_that_add_rights(fleet):
    fleet.whole()
    fleet("apply -f FLEET")
    fleet.writes()
    fleet.write(
        project=PROJECT.replace("other.example.com", "third.example.com").replace("[c1]", "[c2]"),
        grant=GRANT.replace("shop", "new"),
    )

    fleet("apply -f FLEET --yes")
    assert fleet.writes() == [
        "platform/clusters/c1",
        "platform/projects/payments",
        "platform/projects/payments",
        "platform/clusters/c1",
    ]
    assert fleet.out.splitlines() == [
        "narrow Grant c1/payments (-shop)",
        "narrow Project payments (hosts: -other.example.com; clusters: -c1)",
        "change Project payments (hosts: +third.example.com; clusters: +c2)",
        "change Grant c1/payments (+new)",
    ]


def test_no_rights_are_added_if_removing_rights_failed(fleet):
    fleet.whole()
    fleet("apply -f FLEET")
    fleet.write(grant=GRANT.replace("shop", "new"), project=PROJECT.replace("[c1]", "[c1, c2]"))
    fleet.kv.faults["write", "platform/clusters"] = RefusedError("permission denied")
    fleet("apply -f FLEET --yes", code=3)
    assert fleet.store.project("payments").value.clusters == ["c1"]
    assert "2 steps not begun" in fleet.err


@pytest.mark.parametrize(
    "path", ["platform/projects", "upstream", "registries", "requests", "platform/clusters"]
)
def test_apply_can_run_again_after_a_failure_at_any_write(fleet, path):
    fleet.whole()
    if path == "requests":
        fleet.store.merge_index("payments", {"nexus": REMOVED})
    fleet.kv.faults["write", path] = TransientError("Vault is gone")
    fleet("apply -f FLEET --owner shop", code=5)
    del fleet.kv.faults["write", path]
    fleet("apply -f FLEET --owner shop")
    fleet("diff -f FLEET --owner shop --prune")
    definition = parse(fleet.store.definition(NEXUS).value.content(), where="x")
    assert fleet.store.upstream(NEXUS).value.bound_to == destination_text(definition)


def test_a_missing_secret_is_reported_with_file_and_line_and_nothing_is_written(fleet):
    fleet.write(project=PROJECT, registry=REGISTRY.partition("secretFrom")[0])
    fleet("apply -f FLEET", code=2)
    assert "registry.yaml: line 2" in fleet.err
    assert "it needs the upstream secret (username, password); name its source in secretFrom" in fleet.err
    fleet.write(registry=REGISTRY)
    fleet("apply -f FLEET", code=2)
    assert "secret.yaml" in fleet.err
    assert fleet.writes() == []


@pytest.mark.parametrize(
    "text",
    [
        f"username: robot\npassword: !{SECRET}\n",
        f"username: robot\npassword: !!{SECRET} x\n",
        f"username: robot\npassword: *{SECRET}\n",
        f"username: robot\npassword: &{SECRET}\n",
        f"username: robot\npassword: |\n  \n{SECRET}\n",
        f"robot: x\n{SECRET}: y\n",
        f'{{"username": "robot", "password": {SECRET}}}',
        "username: robot\npassword: '  '\n",
    ],
)
def test_an_error_about_a_secrets_file_shows_no_part_of_a_secret(fleet, text):
    fleet.whole()
    (fleet.folder / ".secret.yaml").write_text(text)
    fleet("apply -f FLEET", code=2)  # Fleet asserts that the output has no secret
    assert ".secret.yaml" in fleet.err
    assert fleet.writes() == []


def test_all_missing_secrets_are_reported_at_once(fleet):
    fleet.whole()
    (fleet.folder / ".secret.yaml").write_text("username: robot\n")
    fleet.write(
        second=REGISTRY.replace("name: nexus", "name: second").replace("secret.yaml", ".nowhere.yaml")
    )
    fleet("apply -f FLEET", code=2)
    assert ".secret.yaml: the field 'password' is missing" in fleet.err
    assert ".nowhere.yaml: can't be read" in fleet.err
    assert "(2 problems; nothing was written)" in fleet.err
    assert fleet.writes() == []


def test_a_note_names_a_secret_file_that_others_can_read_once(fleet):
    fleet.whole()
    second = REGISTRY.replace("name: nexus", "name: second").replace("secret.yaml", ".secret.yaml")
    fleet.write(second=second)
    (fleet.folder / ".secret.yaml").chmod(0o644)
    fleet("apply -f FLEET")
    assert fleet.err.count(f"note: others can read {fleet.folder}/.secret.yaml") == 1
    fleet.kv = FakeKeyValue()
    (fleet.folder / ".secret.yaml").chmod(0o600)
    fleet("apply -f FLEET")
    assert "others can read" not in fleet.err


@pytest.mark.parametrize("text", [f"password: |\n  {SECRET}\n", f'password: "{SECRET}\\r\\n"\n'])
def test_a_line_break_after_a_secret_is_not_part_of_it(fleet, text):
    fleet.whole()
    (fleet.folder / ".secret.yaml").write_text(f"username: robot\n{text}")
    fleet("apply -f FLEET")
    assert fleet.store.upstream(NEXUS).value.fields["password"].get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("before", "after", "step"),
    [
        ("[c1, c2]", "[c1]", "repair Project payments (access of clusters: -c2)"),
        ("[c1]", "[c1, c2]", "repair Project payments (access of clusters: +c2)"),
        (None, "[c1]", "repair Project payments (access of clusters: +c1)"),
        (None, "[]", "repair Project payments"),
    ],
)
@pytest.mark.parametrize("dies", [True, False])
def test_the_next_run_updates_groups_that_an_interrupted_run_left(fleet, before, after, step, dies):
    if before:
        fleet.write(project=PROJECT.replace("[c1]", before))
        fleet("apply -f FLEET")
    fleet.write(project=PROJECT.replace("[c1]", after))
    fleet.platform.dies = dies
    fleet.platform.unavailable = not dies
    fleet("apply -f FLEET --yes", code=130 if dies else 5)
    fleet.platform.dies = fleet.platform.unavailable = False
    assert fleet("diff -f FLEET", code=6).splitlines() == [step]
    fleet("apply -f FLEET --yes")
    assert fleet.platform.groups["payments"] == frozenset(yaml.safe_load(after))
    fleet("diff -f FLEET")


def test_the_groups_of_a_removed_project_lose_their_clusters_before_it_is_removed(fleet):
    fleet.whole()
    fleet("apply -f FLEET --owner shop")
    fleet.write(project=None, registry=None, grant=None, cluster=CLUSTER)
    fleet.platform.unavailable = True
    fleet("apply -f FLEET --owner shop --prune --yes", code=5)
    assert fleet.store.project("payments") is not None
    fleet.platform.unavailable = False
    fleet("apply -f FLEET --owner shop --prune --yes")
    assert fleet.store.project("payments") is None
    assert fleet.platform.groups["payments"] == frozenset()


def test_a_token_that_may_not_read_groups_compares_the_rest(fleet):
    fleet.whole()
    fleet("apply -f FLEET")
    fleet.platform.groups.clear()
    fleet.platform.refuses = True
    fleet("diff -f FLEET")


def test_a_note_names_a_grant_that_stays_without_its_project(fleet):
    fleet.whole()
    fleet("apply -f FLEET --owner shop")
    fleet.store.write_cluster(
        "c2", ClusterGrants(grants={"payments": ["web"]}), cas=0, owner='{"payments": "others"}'
    )
    fleet.write(project=None, registry=None, grant=None, cluster=CLUSTER)
    fleet("apply -f FLEET --owner shop --prune --yes")
    notes = [line for line in fleet.err.splitlines() if "stays" in line]
    assert len(notes) == 1
    assert notes[0].startswith("note: Grant c2/payments stays, because it has another owner or none. ")
    assert notes[0].endswith("regcred grant remove --cluster c2 payments")


def test_a_project_may_allow_an_ipv6_address_in_the_form_of_definitions(fleet):
    fleet.whole()
    for name in ("project", "registry"):
        path = fleet.folder / f"{name}.yaml"
        path.write_text(path.read_text().replace("[registry.example.com", '["[2001:db8::1]:5000"'))
    fleet("apply -f FLEET")
    for wrong in (
        "[2001:db8:0::1]:5000",
        "[2001:db8::1]",
        "[2001:db8::1]:0",
        "[::1%eth0]:5000",
        "2001:db8::1",
    ):
        fleet.write(project=PROJECT.replace("[registry.example.com", f'["{wrong}"'))
        fleet("diff -f FLEET", code=2)
        assert "is not a host" in fleet.err


def test_all_problems_of_all_files_are_reported_at_once(fleet):
    fleet.write(
        a=PROJECT.replace("hosts", "hots"),
        b="kind: [",
        c=PROJECT + "---" + PROJECT + "---" + GRANT.replace("web", "Web"),
        d=PROJECT.replace("Project", "Projekt"),
    )
    fleet("apply -f FLEET", code=2)
    lines = fleet.err.replace(f"{fleet.folder}/", "").removesuffix("\n").split("\n")
    assert [line.removeprefix("regcred: ").partition(":")[0] for line in lines] == [
        "a.yaml",
        "b.yaml",
        "c.yaml",
        "c.yaml",
        "d.yaml",
    ]
    assert "(5 problems; nothing was written)" in lines[-1]


def test_the_order_of_failed_steps_does_not_change_the_exit_code_and_the_list_is_bounded(fleet, monkeypatch):
    fleet.write(project=PROJECT)
    grants = (GRANT.replace("c1", f"c{number}") for number in range(70))
    fleet.write(grants="---".join(grants))
    fleet.kv.faults["write", "platform/clusters/c6"] = ConflictError("busy")  # c6 and c60 to c69
    fleet.kv.faults["write", "platform/clusters/c"] = RefusedError("denied")
    fleet("apply -f FLEET", code=3)
    assert len(fleet.err.splitlines()) < 60
    assert "(70 failed" in fleet.err


def test_files_that_declare_nothing_are_an_error_and_remove_nothing(fleet, monkeypatch):
    fleet.whole()
    fleet("apply -f FLEET --owner shop")
    fleet.writes()
    (fleet.folder / "only.yaml").write_text("# nothing yet\n")
    fleet(f"apply -f {fleet.folder}/only.yaml --owner shop --prune --yes", code=2)
    assert "only.yaml: declares no object" in fleet.err
    fleet("diff -f - --owner shop --prune", code=2)  # as after a failed command in a pipe
    assert "-: declares no object" in fleet.err
    assert fleet.writes() == []


@pytest.mark.parametrize(
    ("content", "error"), [(None, "is closed"), (b"\xff\xfe", "is not UTF-8 text"), (b"a\x00", "YAML")]
)
def test_standard_input_without_text_is_an_error(fleet, monkeypatch, content, error):
    monkeypatch.setattr("sys.stdin", content and typed(content))
    fleet("apply -f - --owner shop --prune", code=2)
    assert "standard input: " in fleet.err
    assert error in fleet.err


def test_a_removal_needs_confirmation_also_without_standard_input(fleet, monkeypatch):
    fleet.whole()
    fleet("apply -f FLEET --owner shop")
    fleet.write(grant=None)
    monkeypatch.setattr("sys.stdin", None)
    fleet("apply -f FLEET --owner shop --prune", code=2)
    assert "add --yes" in fleet.err


def test_the_secret_comes_from_standard_input_or_from_another_mount(fleet, monkeypatch):
    fleet.write(project=PROJECT, registry=REGISTRY.replace("file: secret.yaml", "stdin: true"))
    monkeypatch.setattr("sys.stdin", typed(""))
    fleet("apply -f FLEET", code=2)
    assert 'as in {"payments/nexus": {"username": "...", "password": "..."}}' in fleet.err
    given_secret = json.dumps({"payments/nexus": {"username": "robot", "password": SECRET}})
    monkeypatch.setattr("sys.stdin", typed(given_secret))
    fleet("apply -f FLEET")
    assert fleet.store.upstream(NEXUS).value.fields["username"].get_secret_value() == "robot"
    fleet.other.put("ci/nexus", {"username": "vaulted", "password": SECRET, "note": "not ours"})
    moved = REGISTRY.replace("file: secret.yaml", "vault: {mount: kv, path: ci/nexus}")
    fleet.write(registry=moved.replace("registry.example.com", "other.example.com"))
    fleet("apply -f FLEET")
    upstream = fleet.store.upstream(NEXUS).value
    assert {name: value.get_secret_value() for name, value in upstream.fields.items()} == {
        "username": "vaulted",
        "password": SECRET,
    }
    assert "other.example.com" in upstream.bound_to


def test_a_secret_that_stays_valid_is_not_written_again(fleet):
    fleet.whole()
    fleet("apply -f FLEET")
    (fleet.folder / ".secret.yaml").unlink()
    fleet.write(registry=REGISTRY.replace("  hosts:", "  description: ours\n  hosts:"))
    fleet.writes()
    fleet("apply -f FLEET")
    # The first request is still pending, so the second one is written with another version.
    assert list(dict.fromkeys(fleet.writes())) == ["registries/payments/nexus", "requests/payments/nexus"]


def test_if_tracing_is_on_each_request_of_apply_begins_a_trace(fleet, monkeypatch):
    fleet.whole()
    fleet("apply -f FLEET")
    fleet.write(registry=REGISTRY.replace("  hosts:", "  description: ours\n  hosts:"))
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        set_up("test", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address})
        try:
            fleet("apply -f FLEET")
            tracing.flush()
        finally:
            switch_off()
    span = collector.named("request")
    assert fleet.store.request(NEXUS).value.traceparent.startswith(f"00-{span.trace}-{span.id}-")


def test_a_new_destination_requires_the_secret_again(fleet):
    fleet.whole()
    fleet("apply -f FLEET")
    fleet.write(registry=REGISTRY.partition("secretFrom")[0].replace("registry.example", "other.example"))
    fleet("diff -f FLEET", code=2)
    assert "'hosts' of the definition is now other.example.com" in fleet.err


def test_prune_removes_only_what_this_owner_declared(fleet):
    fleet.whole()
    fleet("apply -f FLEET --owner shop")
    hand = Reference("payments", "by-hand")
    fleet.store.write_definition(
        hand, Definition.model_validate({"provider": "public", "hosts": ["registry.example.com"]}), cas=0
    )
    fleet.store.write_definition(
        Reference("search", "theirs"),
        Definition.model_validate({"provider": "public", "hosts": ["x.example.com"]}),
        cas=0,
        owner="search",
    )
    fleet.store.change_cluster(
        "c1",
        lambda old: ClusterGrants(grants={**(old or ClusterGrants()).grants, "search": ["find"]}),
    )
    fleet.write(registry=None, grant=None)
    assert fleet("diff -f FLEET --owner shop --prune", code=6).splitlines() == [
        "remove Grant c1/payments (-shop; -web)",
        "remove Registry payments/nexus",
    ]
    fleet("apply -f FLEET --owner shop --prune", code=2)
    assert "add --yes" in fleet.err
    fleet("apply -f FLEET --owner shop --prune --yes")
    assert fleet.store.definition(NEXUS) is None
    assert fleet.kv.version("upstream/payments/nexus") == 0
    assert fleet.store.definition(hand)
    assert fleet.store.definition(Reference("search", "theirs"))
    assert fleet.store.cluster("c1").value.grants == {"search": ["find"]}


def test_the_bounds_of_delegated_grants_are_declared_with_the_grant(fleet):
    fleet.write(grant=GRANT.replace("[web, shop]", "[web], delegated: [team-b, 'team-a-*']"))
    assert fleet("apply -f FLEET --owner shop").splitlines() == [
        "create Grant c1/payments (+web; +team-a-* (delegated); +team-b (delegated))"
    ]
    assert fleet.store.cluster("c1").value.delegated == {"payments": ["team-a-*", "team-b"]}
    assert "delegated:" in fleet("export")
    fleet.write(grant=GRANT.replace("[web, shop]", "[web], delegated: [team-a-1]"))
    assert fleet("apply -f FLEET --owner shop --yes").splitlines() == [
        "narrow Grant c1/payments (-team-a-* (delegated); -team-b (delegated))"
    ]
    assert fleet.store.cluster("c1").value.delegated == {"payments": ["team-a-1"]}
    fleet.write(grant=GRANT.replace("namespaces: [web, shop]", "delegated: [team-a-1]"))
    fleet("apply -f FLEET --owner shop --yes")
    assert fleet.store.cluster("c1").value.grants == {}
    fleet.write(grant=None, project=PROJECT)
    fleet("apply -f FLEET --owner shop --prune --yes")
    assert "remove Grant c1/payments (-team-a-1 (delegated))" in fleet.out.splitlines()
    assert fleet.store.cluster("c1").value.delegated == {}


@pytest.mark.parametrize("field", ["namespaces", "delegated"])
@pytest.mark.parametrize(
    ("before", "after"), [("['team-*']", "[team-a, team-b]"), ("[team-a, team-b]", "['team-*']")]
)
def test_a_namespace_that_stays_allowed_never_loses_its_grant_for_a_moment(fleet, field, before, after):
    """Sync removes a Secret within seconds after its grant is removed, so the grant must have no gap."""
    text = GRANT.replace("{namespaces: [web, shop]", "{globs: true, FIELD: NAMES").replace("FIELD", field)
    fleet.write(grant=text.replace("NAMES", before))
    fleet("apply -f FLEET")
    fleet.write(grant=text.replace("NAMES", after))
    fleet("apply -f FLEET --yes")
    steps = fleet.out.splitlines()
    assert len(steps) == 1, steps
    assert ("narrow" in steps[0]) is ("*" in before)


def test_an_empty_grant_and_a_malformed_bound_are_refused(fleet):
    fleet.write(grant=GRANT.replace("namespaces: [web, shop]", ""))
    fleet("diff -f FLEET", code=2)
    assert "name at least one namespace in namespaces or delegated" in fleet.err
    fleet.write(grant=GRANT.replace("[web, shop]", "[web], delegated: [Team_A]"))
    fleet("diff -f FLEET", code=2)
    assert "'Team_A' is not the name of a namespace" in fleet.err


def test_a_project_is_removed_last_and_not_while_it_has_registries(fleet):
    fleet.whole()
    fleet("apply -f FLEET --owner shop")
    other = GRANT.replace("name: payments", "name: search")
    fleet.write(project=None, registry=None, grant=other)
    fleet("apply -f FLEET --owner shop --prune --yes")
    assert fleet.store.project("payments") is None
    fleet.whole()
    fleet("apply -f FLEET --owner shop")
    fleet.store.write_definition(
        Reference("payments", "by-hand"),
        Definition.model_validate({"provider": "public", "hosts": ["registry.example.com"]}),
        cas=0,
    )
    fleet.write(project=None, registry=None, grant=other)
    fleet("apply -f FLEET --owner shop --prune --yes", code=2)
    assert "can't be removed while it has registries: payments/by-hand" in fleet.err


def test_a_user_who_may_not_list_projects_removes_none(fleet):
    fleet.whole()
    fleet("apply -f FLEET --owner shop")
    fleet.write(project=None, grant=None)
    fleet.kv.faults["list", "platform"] = RefusedError("permission denied")
    fleet("diff -f FLEET --owner shop --prune")
    assert "note: your token may not list projects" in fleet.err


def test_the_brake_holds_mass_removals(fleet):
    names = ", ".join(f"ns-{number}" for number in range(20))
    fleet.write(grant=GRANT.replace("web, shop", names))
    fleet("apply -f FLEET")
    fleet.write(grant=GRANT.replace("web, shop", "ns-0"))
    fleet.writes()
    fleet("apply -f FLEET --yes", code=1)
    assert (
        "the files make 19 removals, and the limit is 10; if you want that, add --allow-removals 19"
        in fleet.err
    )
    assert fleet.writes() == []
    fleet("apply -f FLEET --yes --allow-removals 19")
    assert fleet.store.cluster("c1").value.grants == {"payments": ["ns-0"]}


def test_one_owner_does_not_change_objects_of_another(fleet):
    fleet.whole()
    fleet("apply -f FLEET --owner shop")
    fleet.write(grant=GRANT.replace("shop", "theirs"))
    fleet("diff -f FLEET --owner search", code=2)
    assert "Grant c1/payments: belongs to 'shop'" in fleet.err
    fleet("diff -f FLEET", code=2)
    fleet("apply -f FLEET --owner search --take-over --yes")
    fleet("diff -f FLEET --owner search --prune")


def test_objects_without_an_owner_are_adopted_and_a_manual_change_keeps_the_owner(fleet):
    fleet.whole()
    fleet("apply -f FLEET")
    assert fleet("diff -f FLEET --owner shop", code=6).splitlines() == [
        "adopt Project payments",
        "adopt Registry payments/nexus",
        "adopt Grant c1/payments",
    ]
    fleet("apply -f FLEET --owner shop")
    fleet.store.change_project("payments", lambda old: old.model_copy(update={"accounts": ["111122223333"]}))
    fleet.store.change_cluster(
        "c1", lambda old: old.model_copy(update={"grants": {**old.grants, "search": ["a"]}})
    )
    assert fleet("diff -f FLEET --owner shop --prune", code=6).splitlines() == [
        "narrow Project payments (accounts: -111122223333)"
    ]


def test_a_concurrent_write_stops_the_step(fleet):
    fleet.whole()
    fleet("apply -f FLEET")
    fleet.write(grant=GRANT.replace("shop", "new"))
    changed = []

    def race(operation):
        reads = [call for call in fleet.kv.calls if call == ("read", "platform/clusters/c1")]
        if len(reads) == 2 and not changed:
            changed.append(True)
            document = {"grants": {"payments": ["web", "shop", "raced"]}}
            fleet.kv.put("platform/clusters/c1", {"document": json.dumps(document)})

    fleet.kv.calls.clear()
    fleet.kv.wait = race
    fleet("apply -f FLEET --yes", code=5)
    assert changed
    assert fleet.store.cluster("c1").value.grants == {"payments": ["web", "shop", "raced"]}


def test_a_denied_change_of_groups_is_reported_and_does_not_stop_the_rest(fleet):
    fleet.whole()
    fleet.platform.refuses = True
    fleet("apply -f FLEET")
    assert "a platform operator runs 'regcred platform apply'" in fleet.err
    assert fleet.store.definition(NEXUS)


def test_an_error_of_the_second_setup_of_a_project_names_the_project(fleet):
    fleet.whole()
    fleet.platform.late = {"payments": TransientError("Vault did not answer")}
    fleet("apply -f FLEET", code=5)
    assert "Project payments" in fleet.err
    assert "Vault did not answer" in fleet.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (REGISTRY.replace("hosts: [", "hots: ["), "line 5: Registry payments/nexus: hosts: is missing"),
        (REGISTRY.replace("basic", "bassic"), "line 6: Registry payments/nexus: provider 'bassic' is"),
        (REGISTRY.replace("registry.example.com", "'https://x'"), "line 7: Registry payments/nexus: hosts["),
        (REGISTRY.replace("project: payments, ", ""), "line 4: metadata.project: is missing"),
        (PROJECT.replace("[c1]", "[C1]"), "line 7: Project payments: clusters.0: is not a name"),
        (PROJECT.replace("hosts", "host"), "line 6: Project payments: host: is not a field of this document"),
        (PROJECT + "extra: 1\n", "line 8: extra: is not a field of this document"),
        (GRANT.replace("web", '"web-*"'), "line 5: Grant c1/payments: grants.payments: 'web-*' is a glob"),
        (GRANT.replace("kind: Grant", "kind: Grants"), "line 3: kind: must be "),
        (GRANT.replace("v1", "v2"), "line 2: apiVersion: must be 'regcred.dev/v1'"),
        (GRANT + "---" + GRANT, "line 7: Grant c1/payments is declared already: "),
        (GRANT + "kind: Grant\n", "line 6: 'kind' appears twice"),
        ("a: " + "[" * 100 + "]" * 100, "line 1: is nested more than 50 levels deep"),
        ("a: " + "[" * 100_000, "line 1, column "),
        (
            "a: &a [1,2,3,4,5,6,7,8,9]\n"
            + "".join(
                f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
            ),
            "the document is too large",
        ),
        ("a: !!python/object:os.system {}", "line 1, column 4"),
    ],
)
def test_an_error_in_a_file_is_reported_with_its_line(fleet, text, message):
    fleet.write(a=text)
    fleet("diff -f FLEET", code=2)
    assert f"{fleet.folder}/a.yaml" in fleet.err
    assert message in fleet.err


def test_a_host_that_the_project_may_not_use_is_refused_before_the_first_write(fleet):
    fleet.whole()
    fleet.write(project=PROJECT.replace("registry.example.com, ", ""))
    fleet("apply -f FLEET", code=2)
    assert "host registry.example.com is not allowed for this project" in fleet.err
    fleet.write(project=None)
    fleet("apply -f FLEET", code=2)
    assert "there is no project payments" in fleet.err
    assert fleet.writes() == []


DEFINITIONS = st.builds(
    lambda host, paths: parse({"provider": "basic", "hosts": [host], "repositories": paths}, where="x"),
    st.sampled_from(["a.example.com", "b.example.com", "c.example.org:5000"]),
    st.lists(st.sampled_from(["team/app", "team/", "other", "teams"]), max_size=2),
)


def _allows(policy: ProjectPolicy, definition) -> bool:
    try:
        check_allowed(definition, hosts=policy.hosts, paths=policy.paths, accounts=policy.accounts)
    except RefusedError:
        return False
    return True


@given(POLICIES, POLICIES, DEFINITIONS)
def test_the_common_policy_of_two_policies_allows_only_what_both_allow(old, new, definition):
    between = common_policy(old, new)
    if _allows(between, definition):
        assert _allows(old, definition)
        assert _allows(new, definition)
    assert {*between.clusters} == {*old.clusters} & {*new.clusters}


def test_an_export_that_may_not_list_everything_fails(fleet, tmp_path):
    fleet.whole()
    fleet("apply -f FLEET")
    fleet.kv.faults["list", "platform/projects"] = RefusedError("there is no such mount")
    fleet(f"export --dir {tmp_path}/backup", code=3)
    assert (
        "your token may not list projects, so only the named ones are read (there is no such mount)"
        in fleet.err
    )
    assert "the export is not complete; if you may read only some projects, name them" in fleet.err
    fleet("export payments")
    fleet.kv.faults["read", "platform/projects"] = RefusedError("there is no such mount")
    fleet("diff -f FLEET", code=2)
    assert "may not read the bounds of the project (there is no such mount)" in fleet.err


def test_an_export_never_mixes_with_other_files(fleet, tmp_path):
    fleet.whole()
    fleet("apply -f FLEET")
    (tmp_path / "out" / ".git").mkdir(parents=True)
    (tmp_path / "out" / "README.md").write_text("ours")
    fleet(f"export --dir {tmp_path}/out")
    fleet.store.remove_definition(NEXUS)
    fleet(f"export --dir {tmp_path}/out", code=2)  # its file would bring the registry back
    assert "name a new folder, or empty this one" in fleet.err


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    projects=st.dictionaries(NAMES, POLICIES, max_size=3),
    registries=st.dictionaries(st.tuples(NAMES, NAMES), REGISTRIES, max_size=4),
    grants=st.dictionaries(NAMES, st.dictionaries(NAMES, st.lists(NAMES, max_size=3)), max_size=2),
    delegated=st.dictionaries(NAMES, st.lists(st.sampled_from(["a", "b-*", "*"]), max_size=2), max_size=2),
    owner=st.sampled_from(["", "shop"]),
)
def test_applying_an_export_changes_nothing(
    fleet, monkeypatch, projects, registries, grants, delegated, owner
):
    fleet.kv = FakeKeyValue()
    store = fleet.store
    for name, policy in projects.items():
        store.write_project(name, policy, cas=0, owner=owner)
        fleet.platform.ensure(name, policy.clusters)
    for (project, name), content in registries.items():
        store.write_definition(
            Reference(project, name), Definition.model_validate(content), cas=0, owner=owner
        )
    for cluster, granted in grants.items():
        store.write_cluster(cluster, ClusterGrants(grants=granted, delegated=delegated), cas=0)
    fleet.writes()
    text = fleet("export")
    if not text:
        return
    monkeypatch.setattr("sys.stdin", typed(text))
    fleet("apply -f -")
    assert "nothing to do" in fleet.err
    assert fleet.writes() == []


def test_an_export_into_a_folder_restores_an_empty_vault(fleet, tmp_path):
    fleet.whole()
    fleet("apply -f FLEET")
    before = [
        fleet.store.project("payments").value,
        fleet.store.cluster("c1").value,
        fleet.store.definition(NEXUS).value,
    ]
    fleet(f"export --dir {tmp_path}/out")
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.yaml")) == [
        "grants/c1/payments.yaml",
        "projects/payments.yaml",
        "registries/payments/nexus.yaml",
    ]
    fleet.kv = FakeKeyValue()
    fleet(f"apply -f {tmp_path}/out", code=2)
    assert "it is new, so it needs the upstream secret (username, password)" in fleet.err
    fleet.store.write_upstream(NEXUS, {"username": SecretStr("x")}, bound_to="", cas=0)
    with (tmp_path / "out/registries/payments/nexus.yaml").open("a") as file:
        file.write(f"secretFrom: {{file: {fleet.folder}/.secret.yaml}}\n")
    fleet(f"apply -f {tmp_path}/out")
    assert [
        fleet.store.project("payments").value,
        fleet.store.cluster("c1").value,
        fleet.store.definition(NEXUS).value,
    ] == before


def test_export_reports_what_it_cannot_read(fleet):
    fleet.kv.put("platform/projects/broken", {"document": "{"})
    fleet.kv.put("registries/payments/odd", {"document": '{"provider": "none-such"}'})
    fleet("export", code=1)
    assert "project broken, registry payments/odd" in fleet.err


@pytest.mark.parametrize("kind", ["Platform", "Cluster", "Project", "Registry", "Grant"])
def test_the_schema_of_each_kind_contains_its_fields(fleet, kind):
    found = json.loads(fleet(f"schema {kind}"))
    text = {
        "Platform": PLATFORM,
        "Cluster": CLUSTER,
        "Project": PROJECT,
        "Registry": REGISTRY,
        "Grant": GRANT,
    }[kind]
    content = yaml.safe_load(text)
    assert {*content} <= {*found["properties"]}
    specs = found["properties"]["spec"].get("oneOf", [found["properties"]["spec"]])
    assert any({*content["spec"]} <= {*spec["properties"]} for spec in specs)
    assert "additionalProperties" in found


PEM = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"
OTHER_PEM = PEM.replace("MIIB", "MIIC")
PLATFORM = """
apiVersion: regcred.dev/v1
kind: Platform
metadata: {name: main}
spec:
  tokens: {ttl_seconds: 600}
"""
CLUSTER = """
apiVersion: regcred.dev/v1
kind: Cluster
metadata: {name: c1}
spec:
  public_keys:
    - |
      -----BEGIN PUBLIC KEY-----
      MIIB
      -----END PUBLIC KEY-----
"""


def test_the_platform_and_its_clusters_are_set_up_before_projects_get_rights(fleet):
    fleet.whole()
    fleet.write(platform=PLATFORM, cluster=CLUSTER)
    assert fleet("diff -f FLEET --owner shop", code=6).splitlines()[:3] == [
        "create Platform main (create secrets engine regcred)",
        "create Cluster c1",
        "create Project payments (hosts: +other.example.com; hosts: +registry.example.com; clusters: +c1)",
    ]
    assert fleet.platform.set_up == {}
    fleet("apply -f FLEET --owner shop")
    assert fleet.platform.set_up_platform.tokens.ttl_seconds == 600
    assert fleet.platform.set_up["c1"] == FoundCluster(ClusterTrust(public_keys=[PEM]), "shop")
    assert fleet.platform.joined == ["c1"]
    fleet("diff -f FLEET --owner shop --prune")


def test_new_clusters_join_their_projects_although_another_one_fails(fleet):
    others = "---".join(CLUSTER.replace("name: c1", f"name: {name}") for name in ("c1", "c2", "c3"))
    fleet.write(cluster=others)
    fleet.platform.broken = {"c2"}
    fleet("apply -f FLEET", code=1)
    assert fleet.platform.joined == ["c1", "c3"]
    fleet.platform.broken = set()
    fleet("apply -f FLEET")
    assert fleet.platform.joined == ["c1", "c3", "c2"]


def test_the_next_run_adds_a_cluster_to_its_projects_after_an_interrupted_run(fleet):
    fleet.write(project=PROJECT)
    fleet("apply -f FLEET --owner projects")
    fleet.platform.set_up_platform = Declaration()
    fleet.write(project=None, cluster=CLUSTER)
    fleet.platform.unavailable = True
    fleet("apply -f FLEET --owner clusters", code=5)
    fleet.platform.unavailable = False
    assert fleet("diff -f FLEET --owner clusters", code=6) == (
        "repair Cluster c1 (access to projects: +payments)\n"
    )
    fleet("apply -f FLEET --owner clusters")
    assert fleet.platform.joined == ["c1"]
    fleet("diff -f FLEET --owner clusters")


def test_changes_of_a_cluster_are_shown_and_removing_a_key_needs_yes(fleet):
    fleet.write(cluster=CLUSTER)
    fleet("apply -f FLEET --owner shop")
    fleet.write(cluster=CLUSTER.replace("MIIB", "MIIC") + "  audience: vault.example.com\n")
    assert fleet("diff -f FLEET --owner shop", code=6) == (
        "change Cluster c1 (public_keys: -1; public_keys: +1; audience: vault -> vault.example.com)\n"
    )
    fleet("apply -f FLEET --owner shop", code=2)
    fleet("apply -f FLEET --owner shop --yes")
    assert fleet.platform.set_up["c1"].trust.public_keys == [OTHER_PEM]


def test_prune_removes_only_the_clusters_of_this_owner(fleet):
    fleet.write(cluster=CLUSTER)
    fleet("apply -f FLEET --owner shop")
    fleet.platform.set_up["c2"] = FoundCluster(ClusterTrust(public_keys=[PEM]), "search")
    fleet.platform.set_up["c3"] = FoundCluster(ClusterTrust(public_keys=[PEM]))
    fleet.write(cluster=CLUSTER.replace("name: c1", "name: c2"))
    fleet("diff -f FLEET --owner shop", code=2)
    assert "Cluster c2: belongs to 'search'" in fleet.err
    fleet.write(cluster=CLUSTER.replace("name: c1", "name: c3"))
    assert fleet("diff -f FLEET --owner shop --prune", code=6).splitlines() == [
        "remove Cluster c1",
        "adopt Cluster c3",
    ]
    fleet("apply -f FLEET --owner shop --prune --yes")
    assert [(name, found.owner) for name, found in sorted(fleet.platform.set_up.items())] == [
        ("c2", "search"),
        ("c3", "shop"),
    ]


def test_a_user_who_cannot_read_clusters_prunes_the_rest_and_declares_no_cluster(fleet):
    fleet.write(cluster=CLUSTER)
    fleet("apply -f FLEET --owner shop")
    fleet.platform.hidden = True
    fleet("diff -f FLEET --owner shop", code=3)
    fleet.whole()
    fleet.write(cluster=None)
    fleet("apply -f FLEET --owner shop --prune")
    assert "note: your token may not read how clusters sign in" in fleet.err
    assert "c1" in fleet.platform.set_up


def test_an_export_contains_the_platform_and_its_clusters(fleet, monkeypatch):
    fleet.write(platform=PLATFORM, cluster=CLUSTER)
    fleet("apply -f FLEET")
    text = fleet("export")
    assert "    -----BEGIN PUBLIC KEY-----\n" in text
    monkeypatch.setattr("sys.stdin", typed(text))
    fleet("apply -f -")
    assert "nothing to do" in fleet.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PLATFORM + "  clusters: {}\n",
            "line 7: Platform main: clusters: is not a field of a Platform; write each cluster",
        ),
        (PLATFORM + "---" + PLATFORM.replace("main", "two"), "line 8: a mount has one Platform, and "),
        (PLATFORM.replace("600", "5"), "line 6: Platform main: tokens.ttl_seconds: "),
        (CLUSTER.replace("public_keys", "public_key"), "Cluster c1: public_key: is not a field"),
        (
            CLUSTER.replace("{name: c1}", "{name: c1, project: p}"),
            "metadata.project: is not a field of a Cluster",
        ),
    ],
)
def test_an_error_in_a_platform_or_cluster_is_reported_with_its_line(fleet, text, message):
    fleet.write(a=text)
    fleet("diff -f FLEET", code=2)
    assert message in fleet.err


def test_one_run_of_apply_sets_up_a_vault_without_the_mount(fleet):
    fleet.whole()
    fleet.write(platform=PLATFORM, cluster=CLUSTER)
    for operation in ("read", "list", "version"):
        fleet.kv.faults[operation, ""] = MissingError("there is no such mount")
    write = fleet.platform.write_platform

    def set_up():
        fleet.kv.faults.clear()
        write()

    fleet.platform.write_platform = set_up
    fleet("diff -f FLEET --owner shop --prune", code=6)
    fleet("apply -f FLEET --owner shop --prune")
    fleet("diff -f FLEET --owner shop --prune")
