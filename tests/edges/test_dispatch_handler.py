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


def test_the_scheduled_time_is_the_sweep_so_that_double_deliveries_are_the_same(invoke) -> None:
    verb = FakeDispatch()
    answer = invoke(verb, {"time": "2026-11-24T12:05:00Z"})
    assert verb.calls == [(Sweep(datetime(2026, 11, 24, 12, 5, tzinfo=UTC)), None)]
    assert answer == {"projects": 2, "messages": 1, "unreadable": 0}


def test_a_nudge_names_one_project(invoke, capsys) -> None:
    verb = FakeDispatch()
    invoke(verb, {"project": "payments"})
    assert verb.calls[0][1] == "payments"
    assert not [line for line in lines(capsys) if "Registries" in line]


def test_an_event_that_is_neither_is_refused_by_field(invoke) -> None:
    with pytest.raises(MalformedError, match="when"):
        invoke(FakeDispatch(), {"when": "now"})


def test_what_could_not_be_read_is_logged_by_name_and_counted(invoke, capsys) -> None:
    invoke(FakeDispatch(unreadable={"a": RefusedError("403")}), {})
    said = lines(capsys)
    assert [line["where"] for line in said if line.get("message") == "not readable"] == ["a"]
    metrics = next(line for line in said if "_aws" in line)
    assert (metrics["Unreadable"], metrics["LastQuarter"], metrics["VaultUnreachable"]) == (
        [1.0],
        [2.0],
        [0.0],
    )


def test_a_nudge_does_not_hide_what_a_sweep_could_not_read(invoke, capsys) -> None:
    """The alarm looks at the least of a period: a nudge counts one project, and would end it."""
    invoke(FakeDispatch(), {"project": "payments"})
    metrics = next(line for line in lines(capsys) if "_aws" in line)
    assert "Unreadable" not in metrics
    assert metrics["Dispatched"] == [3.0]


def test_a_vault_that_fails_in_the_middle_of_a_sweep_counts_as_away(invoke, capsys) -> None:
    invoke(FakeDispatch(unreadable={"a": TransientError("too many requests")}), {})
    metrics = next(line for line in lines(capsys) if "_aws" in line)
    assert metrics["VaultUnreachable"] == [1.0]


def test_a_queue_that_fails_does_not_look_like_a_vault_that_is_away(invoke, capsys) -> None:
    with pytest.raises(TransientError):
        invoke(FakeDispatch(error=QueueError("SQS did not take 2 of 3 messages")), {})
    metrics = next(line for line in lines(capsys) if "_aws" in line)
    assert metrics["VaultUnreachable"] == [0.0]


def test_a_bug_shows_no_secret_in_the_log_nor_in_what_the_runtime_prints(invoke, capsys) -> None:
    with pytest.raises(RegcredError, match="KeyError") as caught:
        invoke(FakeDispatch(error=KeyError("password=hunter2hunter2")), {})
    assert caught.value.__suppress_context__
    shown = str(caught.value) + capsys.readouterr().out
    assert "hunter2" not in shown
    assert "test_dispatch_handler.py" in shown


def test_a_vault_that_is_away_is_an_error_and_a_metric(invoke, capsys) -> None:
    with pytest.raises(TransientError):
        invoke(FakeDispatch(error=TransientError("sealed")), {})
    metrics = next(line for line in lines(capsys) if "_aws" in line)
    assert metrics["VaultUnreachable"] == [1.0]
