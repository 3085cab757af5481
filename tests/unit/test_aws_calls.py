"""The functions' calls to AWS and the tests' answers are valid by botocore's models."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ParamValidationError
from botocore.stub import ANY, Stubber

from regcred.adapters import eventbridge, sqs_sender, sts
from regcred.dispatch import QueuedMessage
from regcred.registry_reference import Reference
from regcred.rotate import Announced, Event
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.index import IndexEntry, State

NOW = datetime(2026, 11, 29, tzinfo=UTC)
ROLE = "arn:aws:iam::111122223333:role/regcred/payments"


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], Stubber]:
    """Give a module the client of one service, with the answers that the test adds."""

    def stub(module: Any, service: str) -> Stubber:
        client = boto3.client(
            service, region_name="eu-central-1", aws_access_key_id="AKIA", aws_secret_access_key="x"
        )
        monkeypatch.setattr(module, "own_client", lambda name: {service: client}[name])
        stubber = Stubber(client)
        stubber.activate()
        return stubber

    return stub


def test_a_message_to_rotate_is_a_valid_batch(stubbed: Any) -> None:
    stub = stubbed(sqs_sender, "sqs")
    stub.add_response(
        "send_message_batch",
        {"Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "d"}], "Failed": []},
        {"QueueUrl": "https://queue", "Entries": ANY},
    )
    message = RotationMessage(project="payments", registries={"main": RotationReason.DUE})
    sqs_sender.SqsQueue("https://queue").send([QueuedMessage(message, "id")])
    stub.assert_no_pending_responses()


def test_an_announcement_is_a_valid_event(stubbed: Any) -> None:
    stub = stubbed(eventbridge, "events")
    stub.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}, {"Entries": ANY})
    entry = IndexEntry(state=State.OK, version=1, verified="yes", changed_at=NOW)
    eventbridge.EventBus("bus").announce([Event(Announced.ROTATED, Reference("payments", "main"), entry)])
    stub.assert_no_pending_responses()


def test_the_request_for_an_identity_token_is_valid(stubbed: Any) -> None:
    stub = stubbed(sts, "sts")
    answer = {"WebIdentityToken": "eyJ", "Expiration": NOW}
    expected = {"Audience": ["vault"], "SigningAlgorithm": "RS256", "DurationSeconds": 300}
    stub.add_response("get_web_identity_token", answer, expected)
    assert sts.own_jwt("vault").get_secret_value() == "eyJ"


def test_the_call_that_assumes_a_projects_role_is_valid(stubbed: Any) -> None:
    stub = stubbed(sts, "sts")
    keys = {
        "AccessKeyId": "ASIA0123456789ABCDEF",
        "SecretAccessKey": "s",
        "SessionToken": "t",
        "Expiration": NOW,
    }
    expected = {
        "RoleArn": ROLE,
        "RoleSessionName": "regcred-payments",
        "ExternalId": "payments",
        "Tags": [{"Key": "project", "Value": "payments"}],
    }
    stub.add_response("assume_role", {"Credentials": keys}, expected)
    identity = sts.ProjectIdentities().of("payments", ProjectPolicy(role_arn=ROLE))
    assert identity.aws().expires_at == NOW


def test_botocores_models_refuse_unknown_members(stubbed: Any) -> None:
    """The other tests here rely on this check."""
    stub = stubbed(sqs_sender, "sqs")
    with pytest.raises(ParamValidationError):
        stub.add_response("send_message_batch", {"Invented": 1}, {})
