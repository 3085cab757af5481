"""A malformed document hides and blocks no other in commands that read many documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fakes.key_value import FakeKeyValue

from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.registry_reference import Reference
from regcred.vault.records.declared import (
    Action,
    ClusterGrants,
    Definition,
    DelegatedGrants,
    ProjectPolicy,
    Request,
)
from regcred.vault.records.identity import ClusterIdentity
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
BROKEN, GOOD = "broken", "payments"
"""The broken project comes first in each list."""

DOCUMENTS = (
    "platform/projects/broken",
    "platform/clusters/c0",
    "delegated/c1/broken",
    "registries/broken/main",
    "credentials/broken/_index",
    "history/broken",
    "status/c1/broken",
    "requests/broken/main",
    "identities/c0",
)

READING = {
    "status -o json": "payments/main",
    "registry list -o json": "payments/main",
    "project list -o json": "payments",
    "grant list -o json": "payments",
    "doctor --repair -o json": "payments/main",
    "export -o json": "payments",
}
"""For each command that reads all projects, what its output must still contain."""

REQUESTING = ("rotate", "verify", "revoke")


class _Platform:
    """A platform that reports the broken project and repairs the others."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.notes: list[str] = []

    def plan(self, on_unreadable: Callable[[str], None]) -> list[Any]:
        on_unreadable("platform/projects/broken: can't be read")
        return []

    def apply(self, on_unreadable: Callable[[str], None], *, prune: bool) -> list[Any]:
        self.plan(on_unreadable)
        return [prune] if prune else []

    def ensure_project(self, project: str) -> list[Any]:
        self.store.project(project)
        return []

    def token_info(self) -> dict[str, Any]:
        return {"display_name": "ann", "policies": ["p"], "ttl": 3600}


class _NoOperator:
    """An operator of OpenBao whose token has no permissions."""

    def __getattr__(self, _name: str) -> Any:
        from regcred.errors import RefusedError

        raise RefusedError("permission denied")


class Fleet:
    """Two projects in two clusters."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture
        self.kv = FakeKeyValue()
        self.store = Store(self.kv)
        self.err = ""
        self.now = NOW + timedelta(minutes=1)
        for project in (BROKEN, GOOD):
            main = Reference(project, "main")
            policy = ProjectPolicy(hosts=["registry.example.com"], clusters=["c0", "c1"])
            self.store.write_project(project, policy, cas=0)
            definition = Definition(provider="basic", hosts=["registry.example.com"])
            self.store.write_definition(main, definition, cas=0)
            entry = IndexEntry(state=State.OK, version=1, verified="yes", changed_at=NOW)
            self.store.merge_index(project, {"main": entry})
            status = Status(written_at=NOW, registries={"main": Placement(placed={1: {"prod": ""}})})
            self.store.write_status("c1", project, status, cas=0)
            self.store.write_request(main, Request(action=Action.VERIFY, requested_at=NOW))
            self.store.change_delegated("c1", project, lambda _: DelegatedGrants(namespaces=["prod"]))
        for cluster in ("c0", "c1"):
            grants = ClusterGrants(
                grants={project: ["prod"] for project in (BROKEN, GOOD)},
                delegated={project: ["prod*"] for project in (BROKEN, GOOD)},
            )
            self.store.write_cluster(cluster, grants, cas=0)
            self.store.pin_identity(cluster, ClusterIdentity(uid="u", pinned_at=NOW))

    def break_document(self, path: str) -> None:
        version = self.kv.version(path)
        self.kv.write(path, {"document": '{"this is": no JSON'}, cas=version)

    def __call__(self, line: str) -> str:
        session = CliSession(
            open_store=lambda: self.store,
            open_platform=lambda _: _Platform(self.store),
            open_operator=lambda *_: _NoOperator(),
            nudge=lambda _: True,
            now=lambda: self.now,
            sleep=self._sleep,
        )
        self.code = run(line.split(), session)
        out, self.err = self.capture.readouterr()
        return out

    def _sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def fleet(capsys: pytest.CaptureFixture[str]) -> Fleet:
    return Fleet(capsys)


@pytest.mark.parametrize("line", READING)
@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_broken_document_hides_no_other(fleet: Fleet, path: str, line: str) -> None:
    fleet.break_document(path)
    out = fleet(line)
    assert READING[line] in out, fleet.err
    json.loads(out)


@pytest.mark.parametrize("command", REQUESTING)
@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_broken_document_prevents_no_request(fleet: Fleet, path: str, command: str) -> None:
    fleet.break_document(path)
    fleet(f"{command} --all --no-wait" + " --yes" * (command == "revoke"))
    for project in (BROKEN, GOOD):
        main = Reference(project, "main")
        found = fleet.store.revocation(main) if command == "revoke" else fleet.store.request(main)
        assert found, fleet.err
        assert found.value.requested_at > NOW


def test_an_index_that_cannot_be_read_does_not_end_the_wait_for_other_projects(fleet: Fleet) -> None:
    fleet.break_document("credentials/broken/_index")
    out = fleet("rotate --all --timeout 1 -o json")
    found = {item["registry"]: item for item in json.loads(out)["registries"]}
    assert "can't be read" in str(found["broken/main"])
    assert "can't be read" not in str(found["payments/main"])


def test_the_state_is_unknown_where_the_index_cannot_be_read(fleet: Fleet) -> None:
    fleet.break_document("credentials/broken/_index")
    found = {
        item["registry"]: item["state"] for item in json.loads(fleet("registry list -o json"))["registries"]
    }
    assert found == {"broken/main": "unknown", "payments/main": "ok"}


@pytest.mark.parametrize("line", ["platform plan", "platform check", "platform apply", "doctor"])
def test_commands_that_compare_the_platform_report_a_project_that_cannot_be_read(
    fleet: Fleet, line: str
) -> None:
    out = fleet(line)
    assert "platform/projects/broken: can't be read" in out + fleet.err
    assert fleet.code == (0 if line == "platform plan" else 1)
