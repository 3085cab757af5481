"""JSON output, completion, and the agreement of status, doctor and explain."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from fakes.cluster_api import FakeClusterApi
from fakes.key_value import FakeKeyValue
from pydantic import SecretStr

from regcred import __version__
from regcred.cli import completion
from regcred.cli.app import app, run
from regcred.cli.session import CliSession
from regcred.errors import RefusedError
from regcred.registry_reference import Reference
from regcred.token.retention import Tagged
from regcred.vault.platform import ChangeKind
from regcred.vault.platform import PlatformStep as Step
from regcred.vault.platform.plan import Resource, ResourceKind
from regcred.vault.records.declared import ClusterGrants, Definition, ProjectPolicy
from regcred.vault.records.history import Attempt
from regcred.vault.records.identity import ClusterIdentity
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MAIN = Reference("payments", "main")
ARN = "arn:aws:iam::111122223333:role/regcred/payments"
QUOTA = "exceeded quota: secrets, requested: count/secrets=1, used: count/secrets=5, limited: count/secrets=5"


class FakePlatform:
    """A platform whose plan the test sets."""

    def __init__(self, actions: list[Step]) -> None:
        self.actions = actions
        self.notes: list[str] = []

    def plan(self, _on_unreadable: Callable[[str], None]) -> list[Step]:
        return self.actions

    def token_info(self) -> dict[str, Any]:
        return {"display_name": "ann", "policies": ["p"], "ttl": 3600}


class FakeImages:
    """A system registry with one old image of payments."""

    def __init__(self) -> None:
        self.deleted: list[tuple[str, str]] = []

    def images(self) -> FakeImages:
        return self

    def repositories(self, project: str) -> list[str]:
        return [f"{project}/app"]

    def tags(self, _repository: str) -> list[Tagged]:
        return [Tagged("1", "sha256:1", NOW - timedelta(days=90))]

    def delete(self, repository: str, digest: str) -> None:
        self.deleted.append((repository, digest))


class Desk:
    """A command line over a Vault with one registry in one cluster."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture
        self.kv = FakeKeyValue()
        self.store = Store(self.kv)
        self.actions: list[Step] = []
        self.api = FakeClusterApi()
        self.images = FakeImages()
        self.lines = ["would write prod/regcred.payments.main"]
        self.failures: list[str] = []
        self.out = self.err = ""
        self.outcome: dict[str, Any] = {}
        self.store.write_project(
            "payments", ProjectPolicy(hosts=["registry.example.com"], clusters=["c1"], role_arn=ARN), cas=0
        )
        self.store.write_cluster("c1", ClusterGrants(grants={"payments": ["prod"]}), cas=0)
        self.store.write_definition(MAIN, Definition(provider="basic", hosts=["registry.example.com"]), cas=0)
        self.store.write_definition(
            Reference("payments", "keyless"), Definition(provider="ecr", regions=["eu-central-1"]), cas=0
        )
        secret = {"username": SecretStr("u"), "password": SecretStr("p")}
        self.store.write_upstream(MAIN, secret, bound_to="{}", cas=0)
        self.index()
        self.store.merge_index(
            "payments", {"keyless": IndexEntry(state=State.OK, version=1, verified="yes", changed_at=NOW)}
        )

    def index(self, **entry: Any) -> None:
        fields = {
            "state": State.OK,
            "version": 3,
            "hosts": ["registry.example.com"],
            "verified": "yes",
            "changed_at": NOW,
        }
        self.store.merge_index("payments", {"main": IndexEntry(**{**fields, **entry})})

    def place(self, **place: Any) -> None:
        found = self.store.status("c1", "payments")
        status = Status(written_at=NOW, registries={"main": Placement(**place)})
        self.store.write_status("c1", "payments", status, cas=found.version if found else 0)

    def __call__(self, line: str, code: int = 0) -> str:
        def run_sync(_given: Any, _context: Any, _way: Any, say: Callable[[str], None]) -> list[str]:
            for text in self.lines:
                say(text)
            return self.failures

        session = CliSession(
            open_store=lambda: self.store,
            open_cluster=lambda _: self.api,
            open_platform=lambda _: FakePlatform(self.actions),
            open_system=lambda: self.images,
            nudge=lambda _: False,
            run_sync=run_sync,
            now=lambda: NOW,
            sleep=self._act,
        )
        found = run(line.split(), session)
        self.out, self.err = self.capture.readouterr()
        assert found == code, self.err
        return self.out

    def _act(self, _seconds: float) -> None:
        self.index(version=4, changed_at=NOW + timedelta(seconds=1), **self.outcome)
        self.store.remove_request(MAIN, self.kv.version(f"requests/{MAIN}"))

    def json(self, line: str, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self(f"{line} -o json", code))
        return found


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(capsys)


def test_registry_template_lists_the_fields(desk: Desk) -> None:
    fields = {field["name"]: field for field in desk.json("registry template basic")["fields"]}
    assert fields["hosts"]["required"]
    assert not fields["repositories"]["required"]
    assert "basic" in {item["provider"] for item in desk.json("registry template")["providers"]}


def test_registry_trust_is_a_document(desk: Desk) -> None:
    found = desk.json("registry trust payments/keyless")
    assert (found["keyless"], found["role_arn"]) == (True, ARN)
    assert "ecr:" in found["trust"]
    assert desk.json("registry trust payments/main") == {
        "registry": "payments/main",
        "keyless": False,
        "role_arn": None,
        "trust": None,
    }


def test_export_is_a_document(desk: Desk, tmp_path: Path) -> None:
    found = desk.json("export payments")
    assert {(item["kind"], item["metadata"]["name"]) for item in found["objects"]} >= {
        ("Project", "payments"),
        ("Registry", "main"),
    }
    assert found["unreadable"] == []
    desk(f"export payments -o json --dir {tmp_path}", code=2)


def test_system_prune_is_a_document(desk: Desk) -> None:
    found = desk.json("system prune payments --keep 0 --older-than 1 --dry-run")
    assert found == {"dry_run": True, "tags": ["payments/app:1"]}
    assert desk.images.deleted == []
    assert desk.json("system prune payments --keep 0 --older-than 1")["tags"] == ["payments/app:1"]
    assert desk.images.deleted == [("payments/app", "sha256:1")]


def test_platform_check_is_a_document_also_if_it_fails(desk: Desk) -> None:
    assert desk.json("platform check") == {
        "as_declared": True,
        "actions": [],
        "notes": [],
        "unreadable": [],
    }
    desk.actions = [Step(ChangeKind.CREATE, Resource(ResourceKind.POLICY, "regcred-x"), {})]
    found = desk.json("platform check", code=1)
    assert (found["as_declared"], found["actions"][0]["name"]) == (False, "regcred-x")


def test_a_dry_run_is_a_document_also_if_something_failed(desk: Desk) -> None:
    assert desk.json("sync --cluster c1 --dry-run") == {
        "dry_run": True,
        "actions": desk.lines,
        "failures": [],
    }
    desk.failures = ["Pods can not be listed"]
    assert desk.json("sync --cluster c1 --once", code=1)["failures"] == desk.failures
    desk("sync --cluster c1 -o json", code=2)


@pytest.mark.parametrize("line", ["rotate payments/main", "verify payments/main"])
def test_an_outcome_is_a_document(desk: Desk, line: str) -> None:
    found = desk.json(line)
    assert found["registry"] == "payments/main"
    assert found["outcome"]["state"] == "ok"
    assert found["outcome"]["version"] == 4


def test_an_outcome_that_is_a_failure_is_a_document_too(desk: Desk) -> None:
    desk.outcome = {"state": State.FAILING, "error": "401", "error_kind": "refused"}
    assert desk.json("rotate payments/main", code=3)["outcome"]["error"] == "401"
    assert desk.err.endswith("version 4 stays in force\n")


def test_with_no_wait_there_is_no_outcome(desk: Desk) -> None:
    assert desk.json("rotate payments/main --no-wait")["outcome"] is None


def test_each_command_that_reads_has_json_output() -> None:
    """Exceptions are commands that only write, and those whose output is a document anyway."""
    root = app()
    without = set()
    for path, command in _leaves(root, click.Context(root), ""):
        if not any("--output" in parameter.opts for parameter in command.params):
            without.add(path)
    assert {
        path
        for path in without
        if path.split()[-1]
        not in {"add", "remove", "reset", "set-secret", "apply", "confirm-removals", "delegate"}
    } <= {
        "annotation",
        "console",
        "exporter",
        "schema",
        "system init",
        "system load",
        "system login",
        "system logout",
        "system rotate-keys",
    }


def _leaves(group: click.Group, context: click.Context, path: str) -> list[tuple[str, click.Command]]:
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if isinstance(command, click.Group):
            found += _leaves(command, context, f"{path} {name}")
        else:
            found.append((f"{path} {name}".strip(), command))
    return found


class TestCompletion:
    def names(self, desk: Desk, complete: Any, typed: str) -> list[str]:
        context = click.Context(click.Command("x"), obj=CliSession(open_store=lambda: desk.store))
        return complete(context, click.Argument(["x"]), typed)

    @pytest.mark.parametrize(
        ("complete", "typed", "offered"),
        [
            (completion.projects, "pay", ["payments"]),
            (completion.projects, "x", []),
            (completion.clusters, "", ["c1"]),
            (completion.references, "pay", ["payments/keyless", "payments/main"]),
            (completion.references, "payments/m", ["payments/main"]),
            (completion.projects_and_references, "", ["payments", "payments/keyless", "payments/main"]),
        ],
    )
    def test_names_come_from_vault(self, desk: Desk, complete: Any, typed: str, offered: list[str]) -> None:
        assert self.names(desk, complete, typed) == offered

    def test_of_many_projects_only_the_names_are_offered(self, desk: Desk) -> None:
        for number in range(20):
            desk.store.write_definition(Reference(f"p{number}", "r"), Definition(provider="ecr"), cas=0)
        assert "payments/" in self.names(desk, completion.references, "")
        assert self.names(desk, completion.references, "payments/ma") == ["payments/main"]

    def test_a_denied_completion_prints_nothing(self, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
        desk.kv.faults["list", ""] = RefusedError("permission denied")
        assert self.names(desk, completion.references, "pay") == []
        assert capsys.readouterr() == ("", "")

    def test_completion_stops_waiting_for_vault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(completion, "PATIENCE", 0.05)
        context = click.Context(click.Command("x"), obj=CliSession(open_store=lambda: time.sleep(20)))
        started = time.monotonic()
        assert completion.projects(context, click.Argument(["x"]), "") == []
        assert time.monotonic() - started < 10

    def test_an_invalid_name_is_not_offered(self, desk: Desk) -> None:
        desk.kv.write("registries/payments/x$(id)", {"document": "{}"}, cas=0)
        assert self.names(desk, completion.references, "payments/x") == []

    def test_completion_answers_the_shell(
        self, monkeypatch: pytest.MonkeyPatch, desk: Desk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(completion, "_quiet_store", lambda: desk.store)
        monkeypatch.setenv("_REGCRED_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", "regcred registry show pay")
        monkeypatch.setenv("COMP_CWORD", "3")
        with pytest.raises(SystemExit):
            app().main(prog_name="regcred", complete_var="_REGCRED_COMPLETE")
        assert "plain,payments/main" in capsys.readouterr().out
        assert os.environ["COMP_CWORD"] == "3"


CASES: dict[str, dict[str, Any]] = {
    "denied": {"refused": {"prod": "not-written"}, "details": {"prod": QUOTA}},
    "not read": {"refused": {"prod": "not-read"}, "details": {"prod": QUOTA}},
    "not read, an older one in place": {
        "placed": {3: {"prod": ""}},
        "refused": {"prod": "not-read"},
        "details": {"prod": QUOTA},
    },
    "name denied": {
        "placed": {3: {"prod": ""}},
        "refused": {"prod": "not-attached"},
        "details": {"prod": QUOTA},
    },
    "change denied": {"placed": {3: {"prod": ""}}, "details": {"prod": QUOTA}},
    "held": {"placed": {3: {"prod": ""}}, "held": {"prod": "unneeded"}},
}


@pytest.mark.parametrize("case", CASES)
def test_status_and_doctor_report_the_same_about_a_cluster(desk: Desk, case: str) -> None:
    desk.place(**CASES[case])
    desk("status payments")
    status = desk.err
    desk("doctor payments", code=int(case != "held"))
    for text in (
        (QUOTA,)
        if case != "held"
        else ("the brake holds back the removal of 1 Secret (1 unneeded)", "confirm-removals")
    ):
        assert text in status
        assert text in desk.out
    assert ("no problem found" in desk.err) == (case == "held")


def test_a_secret_that_was_never_written_is_not_shown_as_placed(desk: Desk) -> None:
    desk.place(placed={0: {"prod": ""}}, refused={"prod": "not-written"}, details={"prod": QUOTA})
    row = next(row for row in desk.json("status payments")["registries"] if row["registry"] == str(MAIN))
    assert row["where"]["c1"]["namespaces"] == {}
    assert "1 namespace" not in desk("status payments").split("PLACED BY SYNC")[1]


def test_workloads_that_must_restart_are_not_shown_as_refused(desk: Desk) -> None:
    desk.place(placed={3: {"prod": ""}}, refused={"prod": "restart-needed"})
    desk("status payments")
    hint = "in 1 namespace (prod): the workload is older than the admission policies (restart the workload)"
    assert hint in desk.err
    assert "refused" not in desk.err


STATES: dict[str, tuple[dict[str, Any], str, int]] = {
    "failing": ({"state": State.FAILING, "version": 0, "error": "no such role"}, "no such role", 1),
    "revoked": ({"state": State.REVOKED}, "revoked", 0),
    "unverified": (
        {"verified": "unknown", "unverified": "the registry answered 429"},
        "the registry answered 429",
        0,
    ),
    "expired": ({"expires_at": NOW - timedelta(hours=2)}, "expired", 1),
    "well": ({}, "ok", 0),
}
"""For each state: its index entry, a text that each command shows, and the exit code of doctor."""


@pytest.mark.parametrize("state", STATES)
def test_status_doctor_show_and_explain_agree_on_a_credential(desk: Desk, state: str) -> None:
    entry, text, code = STATES[state]
    desk.index(version=9, changed_at=NOW, **{key: value for key, value in entry.items() if key != "version"})
    if "version" in entry:
        desk.kv.delete("credentials/payments/_index")
        desk.index(**entry)
    desk.place(placed={9: {"prod": ""}})
    pod(desk)
    status = desk("status payments") + desk.err
    assert text in status
    doctor = desk("doctor payments", code=code) + desk.err
    assert state == "well" or text in doctor
    explained = desk("explain pod prod/web --cluster c1")
    assert state == "well" or text in explained
    row = next(row for row in desk.json("status payments")["registries"] if row["registry"] == str(MAIN))
    assert row["state"] in {state, "ok"}


def pod(desk: Desk) -> None:
    """Create a Pod that names the Secret."""
    desk.api.objects |= {
        "/api/v1/namespaces/prod": {"metadata": {"name": "prod"}},
        f"/api/v1/namespaces/prod/secrets/{MAIN.secret_name}": {"metadata": {"name": MAIN.secret_name}},
        "/api/v1/namespaces/prod/pods/web": {
            "metadata": {"name": "web", "uid": "p", "annotations": {"registry.regcred.dev/x": str(MAIN)}},
            "spec": {
                "containers": [{"name": "a", "image": "registry.example.com/app"}],
                "imagePullSecrets": [{"name": MAIN.secret_name}],
            },
        },
    }


def test_explain_shows_why_the_cluster_denies_the_secret(desk: Desk) -> None:
    desk.place(**CASES["denied"])
    desk.api.objects |= {
        "/api/v1/namespaces/prod": {"metadata": {"name": "prod"}},
        "/api/v1/namespaces/prod/pods/web": {
            "metadata": {"name": "web", "uid": "p", "annotations": {"registry.regcred.dev/x": str(MAIN)}},
            "spec": {"containers": [{"name": "a", "image": "registry.example.com/app"}]},
        },
    }
    desk("explain pod prod/web --cluster c1")
    assert f"the cluster denies the Secret ({QUOTA})" in desk.out


def test_doctor_summarizes_what_works(desk: Desk) -> None:
    desk.place(placed={3: {"prod": ""}})
    for number in range(10):
        reference = Reference("payments", f"r{number}")
        desk.store.write_definition(reference, Definition(provider="ecr", regions=["eu-central-1"]), cas=0)
        desk.store.merge_index(
            "payments", {f"r{number}": IndexEntry(state=State.OK, version=1, verified="yes", changed_at=NOW)}
        )
    desk("doctor payments")
    assert "12 registries in force" in desk.out
    assert "wrote its status 0s ago" in desk.out
    assert "checks passed" in desk.err
    assert desk.json("doctor payments")["counts"]["ok"] >= 12


def test_status_and_show_contain_the_last_outcomes(desk: Desk) -> None:
    first = Attempt(NOW - timedelta(hours=3), "rotated", 1, 900)
    last = Attempt(NOW - timedelta(hours=1), "failing", 1, 30, "refused")
    desk.store.add_history("payments", {"main": first})
    desk.store.add_history("payments", {"main": last})
    desk("status payments")
    assert "last outcome 1h ago: failing (refused), version 1" in desk.err
    desk("registry show payments/main")
    shown = desk.out[desk.out.index("last outcomes") :]
    assert shown.index("failing (refused), version 1") < shown.index("rotated, version 1")
    desk("registry show payments/main -o json")
    outcomes = json.loads(desk.out)["last_outcomes"]
    assert [(one["outcome"], one["error_kind"]) for one in outcomes] == [
        ("failing", "refused"),
        ("rotated", ""),
    ]
    desk("status payments -o json")
    registry = next(one for one in json.loads(desk.out)["registries"] if one["registry"] == "payments/main")
    assert registry["last_outcomes"] == outcomes


def test_a_broken_history_hides_nothing_else(desk: Desk) -> None:
    desk.kv.put("history/payments", {"document": "{"})
    desk("status payments")
    assert "payments/main" in desk.out
    assert "the last outcomes of payments are left out" in desk.err


def write_versions(desk: Desk, *, sync: str, rotate: str) -> None:
    """Write the documents of sync and rotate with these versions."""
    desk.place(placed={3: {"prod": ""}})
    found, index = desk.store.status("c1", "payments"), desk.store.index("payments")
    assert found
    assert index
    status = found.value.model_copy(update={"sync_version": sync, "mode": "serviceaccount"})
    desk.store.write_status("c1", "payments", status, cas=found.version)
    desk.kv.put("credentials/payments/_index", index.value.written_by(rotate).fields())


def test_status_and_doctor_show_the_version_and_mode_of_sync(desk: Desk) -> None:
    write_versions(desk, sync="0.2.0", rotate=__version__)
    desk("status payments")
    assert "payments in c1: sync (version 0.2.0, mode serviceaccount) wrote its status 0s ago" in desk.err
    assert f"sync in c1 is newer: it has version 0.2.0, and this command line has {__version__}" in desk.err
    desk("status payments -o json")
    [sync] = json.loads(desk.out)["syncs"]
    assert (sync["project"], sync["cluster"]) == ("payments", "c1")
    assert (sync["version"], sync["supported"], sync["mode"]) == ("0.2.0", True, "serviceaccount")
    desk("doctor payments")
    assert "sync (version 0.2.0, mode serviceaccount)" in desk.out
    assert "(supported)" in desk.out


def test_status_and_doctor_report_unsupported_versions_of_rotate_and_sync(desk: Desk) -> None:
    write_versions(desk, sync="0.3.1", rotate="1.0.0")
    desk("status payments")
    for text in ("rotate has version 1.0.0", "sync in c1 has version 0.3.1"):
        expected = f"{text}, and this command line has {__version__}: they are not supported together"
        assert expected in desk.err
    desk("status payments -o json")
    found = json.loads(desk.out)
    assert [item["supported"] for item in (*found["syncs"], *found["rotates"])] == [False, False]
    desk("doctor payments", code=1)
    assert desk.out.count("they are not supported together") == 2


def test_a_changed_entry_writes_rotates_version_to_the_index_and_the_version_alone_does_not(
    desk: Desk,
) -> None:
    found = desk.store.index("payments")
    assert found
    assert found.value.rotate_version == __version__
    desk.kv.put("credentials/payments/_index", found.value.written_by("0.0.9").fields())
    before = desk.store.index_version("payments")
    desk.index()
    assert desk.store.index_version("payments") == before
    desk.index(version=4)
    after = desk.store.index("payments")
    assert after
    assert after.value.rotate_version == __version__


def test_doctor_shows_the_uid_of_the_cluster_with_a_name(desk: Desk) -> None:
    desk("doctor payments")
    assert "no cluster has used this name yet" in desk.out
    desk.store.pin_identity("c1", ClusterIdentity(uid="uid-of-c1", pinned_at=NOW))
    desk("doctor payments")
    assert "is the cluster whose namespace kube-system has the uid uid-of-c1" in desk.out


def test_explain_shows_that_a_working_credential_cannot_be_renewed(desk: Desk) -> None:
    desk.index(version=9, state=State.FAILING, error="no such role", expires_at=NOW + timedelta(hours=1))
    desk.place(placed={9: {"prod": ""}})
    pod(desk)
    explained = desk("explain pod prod/web --cluster c1")
    assert "in 1h; its rotation fails: no such role" in explained
