"""The handler of rotate: batches of SQS messages, its log and metrics, with a fake verb."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regcred.errors import MalformedError, RegcredError, TransientError
from regcred.registry_reference import Reference
from regcred.rotate import Outcome, OutOfTimeError, RotationReport, RotationResult
from regcred.rotation_message import RotationMessage


class FakeRotate:
    def __init__(self, failing: dict[str, Exception] | None = None) -> None:
        self.failing = failing or {}
        self.errors: list[RegcredError] = []
        self.calls: list[tuple[str, str]] = []

    def run(self, message: RotationMessage, *, owner: str, until: Any) -> RotationReport:
        self.calls.append((message.project, owner))
        if message.project in self.failing:
            raise self.failing[message.project]
        outcomes = [
            Outcome(Reference(message.project, name), RotationResult.ROTATED, provider="ecr", version=2)
            for name in message.registries
        ]
        return RotationReport(outcomes, self.errors)


def record(number: int, project: str, body: str | None = None) -> dict[str, Any]:
    message = RotationMessage(project=project, registries={"prod": "due"})
    return {
        "messageId": f"m{number}",
        "body": message.body() if body is None else body,
        "attributes": {"MessageGroupId": project},
        "eventSource": "aws:sqs",
    }


def failed(answer: dict[str, Any]) -> list[str]:
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


@pytest.fixture
def invoke(load, context, monkeypatch, capsys):
    def invoke(verb: FakeRotate, *records: dict[str, Any]) -> dict[str, Any]:
        module = load("rotate")
        monkeypatch.setattr(module, "rotate", lambda: verb)
        return module.handler({"Records": list(records)}, context)

    return invoke


def test_each_message_is_rotated_by_another_owner(invoke) -> None:
    verb = FakeRotate()
    assert failed(invoke(verb, record(1, "a"), record(2, "b"))) == []
    assert [project for project, _ in verb.calls] == ["a", "b"]
    assert len({owner for _, owner in verb.calls}) == 2


def test_only_the_messages_of_a_failed_project_are_delivered_again(invoke) -> None:
    verb = FakeRotate({"a": TransientError("Vault is sealed")})
    answer = invoke(verb, record(1, "a"), record(2, "b"), record(3, "a"))
    assert failed(answer) == ["m1", "m3"]
    assert [project for project, _ in verb.calls] == ["a", "b"]


def test_a_batch_in_which_every_message_fails_is_reported_without_an_exception(invoke) -> None:
    answer = invoke(FakeRotate({"a": TransientError("Vault is sealed")}), record(1, "a"))
    assert failed(answer) == ["m1"]


@pytest.mark.parametrize(
    "body",
    [
        '{"project": "A B"}',
        "",
        "no JSON",
        "[" * 10_000,
        '{"project": "a", "registries": {}}',
        '{"project": "a", "registries": {"prod": "unheard"}}',
        '{"project": "a", "registries": {"prod": "due"}, "more": 1}',
        "x" * 300_000,
    ],
)
def test_a_malformed_message_is_logged_and_dropped_and_blocks_no_other(invoke, capsys, body: str) -> None:
    verb = FakeRotate()
    assert failed(invoke(verb, record(1, "a", body=body), record(2, "a"))) == []
    assert [project for project, _ in verb.calls] == ["a"]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (error,) = [line for line in lines if line.get("level") == "ERROR"]
    assert (error["message"], error["message_id"]) == ("message dropped", "m1")
    assert len(error["error"]) < 1000
    (metrics,) = [line for line in lines if "_aws" in line]
    assert (metrics["MalformedMessages"], metrics["FailedMessages"]) == ([1.0], [0.0])


def test_a_wrong_setting_drops_no_message(invoke) -> None:
    verb = FakeRotate({"a": MalformedError("VAULT_ADDR: is missing")})
    assert failed(invoke(verb, record(1, "a"), record(2, "a"))) == ["m1", "m2"]


def test_an_unexpected_exception_shows_no_secret_in_the_log(invoke, capsys) -> None:
    assert failed(invoke(FakeRotate({"a": KeyError("password=hunter2hunter2")}), record(1, "a"))) == ["m1"]
    assert "hunter2" not in capsys.readouterr().out


def test_metrics_count_the_finished_rotations_of_a_message_that_is_delivered_again(invoke, capsys) -> None:
    verb = FakeRotate()
    verb.errors = [TransientError("Vault is sealed")]
    assert failed(invoke(verb, record(1, "a"))) == ["m1"]
    metrics = json.loads(next(line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line))
    assert (metrics["Rotated"], metrics["VaultUnreachable"]) == ([1.0], [1.0])


def test_a_run_out_of_time_does_not_count_as_an_unreachable_vault(invoke, capsys) -> None:
    assert failed(invoke(FakeRotate({"a": OutOfTimeError("out of time")}), record(1, "a"))) == ["m1"]
    metrics = json.loads(next(line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line))
    assert (metrics["FailedMessages"], metrics["VaultUnreachable"]) == ([1.0], [0.0])


def test_metrics_count_outcomes_with_the_service_as_the_only_dimension(invoke, capsys) -> None:
    invoke(FakeRotate({"b": TransientError("sealed")}), record(1, "a"), record(2, "b"))
    metrics = json.loads(next(line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line))
    assert (metrics["Rotated"], metrics["FailedMessages"], metrics["VaultUnreachable"]) == (
        [1.0],
        [1.0],
        [1.0],
    )
    assert metrics["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]


def test_two_installations_in_one_account_have_separate_metrics(invoke, capsys, monkeypatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "staging-rotate")
    invoke(FakeRotate(), record(1, "a"))
    metrics = json.loads(next(line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line))
    assert metrics["service"] == "staging-rotate"
