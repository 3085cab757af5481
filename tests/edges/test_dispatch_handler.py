"""The handler of dispatch: its events, log and metrics, with a fake verb."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from regcred.dispatch import Health, QueueError, Sweep, SweepReport
from regcred.errors import MalformedError, RefusedError, RegcredError, TransientError
from regcred.rotation_message import RotationReason


class FakeDispatch:
    def __init__(self, error: Exception | None = None, **report: Any) -> None:
        self.error = error
        self.calls: list[tuple[Sweep, str | None]] = []
        base = {
            "projects": 2,
            "messages": 1,
            "reasons": {RotationReason.DUE: 3},
            "health": Health(7, 1, 2, 0),
            "unreadable": {},
        }
        self.report = SweepReport(**(base | report))

    def run(self, sweep: Sweep, *, only: str | None) -> SweepReport:
        self.calls.append((sweep, only))
        if self.error:
            raise self.error
        return self.report


@pytest.fixture
def invoke(load, context, monkeypatch, capsys):
    def invoke(verb: FakeDispatch, event: dict[str, Any]) -> dict[str, Any]:
        module = load("dispatch")
        settings = SimpleNamespace(interval=timedelta(minutes=5))
        monkeypatch.setattr(module, "dispatch", lambda: SimpleNamespace(verb=verb, settings=settings))
        return module.handler(event, context)

    return invoke


def lines(capsys) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_scheduled_time_identifies_the_sweep_so_that_two_deliveries_are_the_same(invoke) -> None:
    verb = FakeDispatch()
    answer = invoke(verb, {"time": "2026-11-24T12:05:00Z"})
    assert verb.calls == [(Sweep(datetime(2026, 11, 24, 12, 5, tzinfo=UTC)), None)]
    assert answer == {"projects": 2, "messages": 1, "unreadable": 0}


def test_a_nudge_sweeps_only_its_project(invoke, capsys) -> None:
    verb = FakeDispatch()
    invoke(verb, {"project": "payments"})
    assert verb.calls[0][1] == "payments"
    assert not [line for line in lines(capsys) if "Registries" in line]


def test_an_event_with_an_unknown_field_is_refused_with_the_name_of_the_field(invoke) -> None:
    with pytest.raises(MalformedError, match="when"):
        invoke(FakeDispatch(), {"when": "now"})


def test_a_project_that_cannot_be_read_is_logged_by_name_and_counted(invoke, capsys) -> None:
    invoke(FakeDispatch(unreadable={"a": RefusedError("403")}), {})
    logged = lines(capsys)
    assert [line["where"] for line in logged if line.get("message") == "could not be read"] == ["a"]
    metrics = next(line for line in logged if "_aws" in line)
    assert (metrics["Unreadable"], metrics["LastQuarter"], metrics["VaultUnreachable"]) == (
        [1.0],
        [2.0],
        [0.0],
    )


def test_a_nudge_does_not_reset_the_count_of_unreadable_projects(invoke, capsys) -> None:
    """The alarm uses the minimum of a period. A nudge reads one project only, so its 0 would end the
    alarm."""
    invoke(FakeDispatch(), {"project": "payments"})
    metrics = next(line for line in lines(capsys) if "_aws" in line)
    assert "Unreadable" not in metrics
    assert metrics["Dispatched"] == [3.0]


def test_a_vault_that_fails_during_a_sweep_counts_as_unreachable(invoke, capsys) -> None:
    invoke(FakeDispatch(unreadable={"a": TransientError("too many requests")}), {})
    metrics = next(line for line in lines(capsys) if "_aws" in line)
    assert metrics["VaultUnreachable"] == [1.0]


def test_a_queue_failure_does_not_count_as_an_unreachable_vault(invoke, capsys) -> None:
    with pytest.raises(TransientError):
        invoke(FakeDispatch(error=QueueError("SQS did not accept 2 of 3 messages")), {})
    metrics = next(line for line in lines(capsys) if "_aws" in line)
    assert metrics["VaultUnreachable"] == [0.0]


def test_an_unexpected_exception_shows_no_secret_in_the_log_or_the_runtimes_output(invoke, capsys) -> None:
    with pytest.raises(RegcredError, match="KeyError") as caught:
        invoke(FakeDispatch(error=KeyError("password=hunter2hunter2")), {})
    assert caught.value.__suppress_context__
    shown = str(caught.value) + capsys.readouterr().out
    assert "hunter2" not in shown
    assert "test_dispatch_handler.py" in shown


def test_an_unreachable_vault_is_an_error_and_a_metric(invoke, capsys) -> None:
    with pytest.raises(TransientError):
        invoke(FakeDispatch(error=TransientError("sealed")), {})
    metrics = next(line for line in lines(capsys) if "_aws" in line)
    assert metrics["VaultUnreachable"] == [1.0]
