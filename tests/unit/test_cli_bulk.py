"""Requests for many registries at once, with a Vault in memory and answers that the tests set."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fakes.key_value import FakeKeyValue

from regcred.cli import bulk_requests
from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.errors import RefusedError, TransientError
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Action, Definition
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.store import Store

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Desk:
    """The command line, with a dispatch and rotate that answer while it waits."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture
        self.kv = FakeKeyValue()
        self.store = Store(self.kv)
        self.now = START
        self.answer: Callable[[Reference, Action], IndexEntry | None] = self.success
        self.most_open = 0
        self.nudged: list[str] = []
        self.out = self.err = ""

    def add(self, *names: str, provider: str = "basic") -> None:
        for name in names:
            content = {"provider": provider, "hosts": ["registry.example.com"]}
            self.store.write_definition(Reference.parse(name), Definition.model_validate(content), cas=0)

    def success(self, reference: Reference, action: Action) -> IndexEntry | None:
        state = State.REVOKED if action is Action.REVOKE else State.OK
        return IndexEntry(
            state=state, version=2, verified="yes", hosts=["registry.example.com"], changed_at=self.now
        )

    def __call__(self, line: str, code: int = 0) -> str:
        session = CliSession(
            open_store=lambda: self.store,
            nudge=lambda project: bool(self.nudged.append(project)) or True,
            now=lambda: self.now,
            sleep=self.dispatch,
        )
        found = run(line.split(), session)
        captured = self.capture.readouterr()
        self.out, self.err = captured.out, captured.err
        assert found == code, self.err
        return self.out

    def dispatch(self, seconds: float) -> None:
        """Handle all pending requests, as dispatch and rotate do."""
        self.now += timedelta(seconds=seconds)
        for project in self.store.projects():
            requested, revoked = self.store.pending_requests(project)
            self.most_open = max(self.most_open, len(requested) + len(revoked))
            entries = {}
            for name, is_revocation in [*((n, False) for n in requested), *((n, True) for n in revoked)]:
                reference = Reference(project, name)
                found = self.store.revocation(reference) if is_revocation else self.store.request(reference)
                entry = self.answer(reference, found.value.action)
                if entry:
                    entries[name] = entry
                    self.store.remove_request(reference, found.version, revocation=is_revocation)
            if entries:
                self.store.merge_index(project, entries)


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Desk:
    desk = Desk(capsys)
    desk.add("payments/a", "payments/b", "search/c")
    desk.add("search/d", provider="public")
    return desk


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        ("payments", ["payments/a", "payments/b"]),
        ("payments/a search/c", ["payments/a", "search/c"]),
        ("payments search/c search", ["payments/a", "payments/b", "search/c", "search/d"]),
        ("--all", ["payments/a", "payments/b", "search/c", "search/d"]),
        ("--provider public", ["search/d"]),
        ("--provider basic payments search", ["payments/a", "payments/b", "search/c"]),
    ],
)
@pytest.mark.parametrize("verb", ["rotate", "verify", "revoke --yes"])
def test_only_the_selected_registries_are_requested(desk, selected, expected, verb):
    document = json.loads(desk(f"{verb} {selected} -o json"))
    assert [one["registry"] for one in document["registries"]] == expected
    assert document["action"] == verb.split()[0]
    counts = {"requested": len(expected), "done": len(expected), "failed": 0, "waiting": 0}
    assert document["summary"] == counts
    answered = {
        f"{project}/{name}"
        for project in ("payments", "search")
        if (index := desk.store.index(project))
        for name in index.value.registries
    }
    assert answered == {*expected}


def test_failures_are_listed_and_the_other_registries_are_handled(desk):
    def answer(reference, action):
        if reference.registry != "b":
            return desk.success(reference, action)
        return IndexEntry(
            state=State.FAILING,
            version=1,
            error="the registry refused",
            error_kind=RefusedError.kind,
            changed_at=desk.now,
        )

    desk.answer = answer
    assert desk("rotate --all", code=1) == "payments/b: the registry refused; version 1 stays in force\n"
    assert desk.err.splitlines()[-1] == "regcred: 3 of 4 registries rotated, 1 failed"
    assert sorted(set(desk.nudged)) == ["payments", "search"]


def test_a_project_that_the_token_may_not_write_to_blocks_no_other(desk):
    desk.kv.faults["write", "requests/search"] = RefusedError("permission denied")
    desk("verify payments search", code=1)
    assert "search/c: permission denied" in desk.out
    assert "2 of 4 registries verified, 2 failed" in desk.err


def test_a_request_without_an_answer_in_time_is_counted_and_stays(desk):
    desk.answer = lambda reference, action: (
        None if reference.registry == "a" else desk.success(reference, action)
    )
    desk("rotate --all --timeout 60", code=5)
    assert "3 of 4 registries rotated, 1 not handled in time (the requests stay)" in desk.err
    assert desk.store.request(Reference("payments", "a"))


def test_an_outage_of_vault_does_not_end_the_wait(desk):
    success, broken = desk.success, []

    def answer(reference, action):
        if not broken:
            broken.append(True)
            desk.kv.faults["read", "credentials/payments"] = TransientError("gone")
        elif len(broken) == 1:
            broken.append(True)
            desk.kv.faults.clear()
        return success(reference, action)

    desk.answer = answer
    desk("rotate payments search")


def test_after_an_outage_of_vault_the_remaining_requests_are_sent(desk):
    desk.kv.faults["write", "requests/search"] = TransientError("sealed")
    dispatch = desk.dispatch

    def restored(seconds):
        desk.kv.faults.clear()
        dispatch(seconds)

    desk.dispatch = restored
    desk("rotate --all")
    assert "4 of 4 registries rotated" in desk.err


def test_in_an_outage_of_vault_the_remaining_requests_fail_without_a_try_of_each(desk):
    desk.add(*(f"zoo/r{number}" for number in range(100)))
    desk.kv.faults["write", "requests/zoo"] = TransientError("sealed")
    desk("rotate --all --timeout 60", code=1)
    assert "zoo/r0: sealed" in desk.out
    assert "4 of 104 registries rotated, 100 failed" in desk.err
    desk.kv.calls.clear()
    desk("rotate zoo --no-wait", code=1)
    assert "100 could not be sent" in desk.err
    assert len([path for operation, path in desk.kv.calls if operation == "write"]) < 100


@pytest.mark.parametrize("option", ["--no-wait", "--wait"])
def test_ctrl_c_stops_the_sending_and_reports_the_number_of_sent_requests(desk, monkeypatch, option):
    monkeypatch.setattr(bulk_requests, "WINDOW", 5)
    desk.add(*(f"zoo/r{number}" for number in range(23)))
    nudge, sent = desk.nudged.append, []

    def interrupt(project):
        nudge(project)
        sent.append(project)
        if len(sent) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(desk, "nudged", type("Nudged", (), {"append": staticmethod(interrupt)})())
    desk(f"revoke zoo --yes {option}", code=130)
    assert "sent 10 of 23 requests to revoke; these stay open\nregcred: interrupted" in desk.err


def test_without_names_a_project_that_may_not_be_listed_is_left_out(desk):
    desk.kv.faults["list", "registries/payments"] = RefusedError("permission denied")
    desk("verify --all")
    assert "note: project payments is left out: permission denied" in desk.err
    assert "2 of 2 registries verified" in desk.err
    desk("verify payments search", code=3)


def test_provider_leaves_out_only_the_definition_that_may_not_be_read(desk):
    desk.kv.faults["read", "registries/payments/a"] = RefusedError("permission denied")
    desk("rotate --provider basic")
    assert "note: registry payments/a is left out: permission denied" in desk.err
    assert "2 of 2 registries rotated" in desk.err


def test_all_without_any_registry_is_an_error(desk):
    desk.kv = FakeKeyValue()
    desk.store = Store(desk.kv)
    for command in ("rotate --all", "verify --all -o json", "revoke --all --yes"):
        desk(command, code=4)
        assert "there are no registries that you may read" in desk.err


def test_the_confirmation_of_a_revocation_lists_the_registries(desk):
    desk("revoke payments", code=2)
    assert "payments/a\npayments/b\n" in desk.err
    assert "add --yes" in desk.err
    assert desk.store.pending_requests("payments") == ([], [])
    desk("revoke payments --yes")
    assert "2 of 2 registries revoked" in desk.err


def test_the_number_of_open_requests_is_limited(desk, monkeypatch):
    monkeypatch.setattr(bulk_requests, "WINDOW", 5)
    desk.add(*(f"many/r{number}" for number in range(23)))
    desk("rotate many")
    assert "23 of 23 registries rotated" in desk.err
    assert desk.most_open == 5


def test_with_no_wait_all_requests_are_written_at_once(desk, monkeypatch):
    monkeypatch.setattr(bulk_requests, "WINDOW", 5)
    desk.add(*(f"many/r{number}" for number in range(12)))
    desk("rotate many --no-wait")
    assert len(desk.store.pending_requests("many")[0]) == 12
    assert "sent requests to rotate 12 registries" in desk.err


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("rotate", 2, "name a registry or a project: regcred rotate P/R, regcred rotate P; or use --all"),
        ("revoke --all payments", 2, "leave out the names, or leave out --all"),
        ("verify nothing", 4, "there is no project nothing"),
        ("verify payments payments/z", 4, "there is no registry payments/z"),
        ("rotate --provider gar", 4, "none of these registries has the provider gar"),
        ("rotate --provider nexsus", 2, "provider 'nexsus' is unknown; did you mean 'nexus'?"),
        ("rotate payments --local", 2, "--local works for one registry at a time"),
        ("rotate Payments", 2, "Payments"),
    ],
)
def test_an_invalid_selection_is_refused(desk, line, code, message):
    desk(line, code=code)
    assert message in desk.err
    assert desk.store.pending_requests("payments") == ([], [])
