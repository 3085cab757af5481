"""The classes that talk to AWS, with botocore's stubber, which checks the shapes of requests and answers."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import ANY, Stubber

from regcred.adapters import aws_clients, eventbridge
from regcred.adapters import sqs_sender as sqs_adapter
from regcred.adapters import sts as sts_adapter
from regcred.dispatch import QueuedMessage
from regcred.errors import MalformedError, MissingError, RefusedError, TransientError
from regcred.registry import aws as aws_sdk
from regcred.registry import transport
from regcred.registry_reference import Reference
from regcred.rotate import Announced, Event
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.settings import RotateSettings
from regcred.vault.login import AwsIamLogin, JwtLogin
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.index import IndexEntry, State
from regcred.wiring import aws

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ROLE = "arn:aws:iam::123456789012:role/regcred/payments"
QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/regcred-rotate.fifo"


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch):
    """Stub a service's client; all that was expected must have been asked."""
    stubbers = []

    def stub(service: str) -> Stubber:
        keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "s3cr3t"}
        client = boto3.client(service, region_name="eu-central-1", **keys)
        stubber = Stubber(client)
        stubber.activate()
        stubbers.append(stubber)
        for module in (sqs_adapter, eventbridge, sts_adapter):
            monkeypatch.setattr(module, "own_client", lambda _service: client)
        return stubber

    yield stub
    for stubber in stubbers:
        stubber.assert_no_pending_responses()


def envelopes(count: int) -> list[QueuedMessage]:
    return [
        QueuedMessage(
            RotationMessage(project="payments", registries={f"r{number}": RotationReason.DUE}), f"id-{number}"
        )
        for number in range(count)
    ]


def test_messages_go_in_batches_of_ten_grouped_by_project(stubbed) -> None:
    sqs = stubbed("sqs")
    for size in (10, 2):
        entry = {"Id": ANY, "MessageBody": ANY, "MessageGroupId": "payments", "MessageDeduplicationId": ANY}
        sqs.add_response(
            "send_message_batch",
            {"Successful": [], "Failed": []},
            {"QueueUrl": QUEUE, "Entries": [entry] * size},
        )
    sqs_adapter.SqsQueue(QUEUE).send(envelopes(12))


def test_messages_that_the_queue_did_not_take_are_counted(stubbed) -> None:
    failed = {"Id": "1", "SenderFault": False, "Code": "InternalError"}
    stubbed("sqs").add_response("send_message_batch", {"Successful": [], "Failed": [failed]})
    with pytest.raises(TransientError, match="1 of 2"):
        sqs_adapter.SqsQueue(QUEUE).send(envelopes(2))


def test_a_queue_that_refuses_says_which_right_is_missing(stubbed) -> None:
    stubbed("sqs").add_client_error("send_message_batch", "AccessDenied", http_status_code=403)
    with pytest.raises(RefusedError, match="sqs:SendMessage"):
        sqs_adapter.SqsQueue(QUEUE).send(envelopes(1))


@pytest.mark.parametrize("code", ["RequestThrottled", "ThrottledException", "SlowDown", "KmsThrottled"])
def test_a_throttle_is_no_missing_right(stubbed, code: str) -> None:
    stubbed("sqs").add_client_error("send_message_batch", code, http_status_code=403)
    with pytest.raises(TransientError, match=code):
        sqs_adapter.SqsQueue(QUEUE).send(envelopes(1))


def event() -> Event:
    entry = IndexEntry(state=State.OK, version=3, fingerprint="f1ng3r", provider="ecr", changed_at=NOW)
    return Event(Announced.ROTATED, Reference("payments", "prod"), entry)


def test_an_event_tells_the_index_entry_without_the_fingerprint(stubbed) -> None:
    detail = eventbridge.detail(event())
    assert detail == {
        "project": "payments",
        "registry": "prod",
        "state": "ok",
        "version": 3,
        "provider": "ecr",
        "changed_at": "2026-11-24T12:00:00Z",
    }
    entry = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}
    stubbed("events").add_response("put_events", entry)
    with pytest.raises(TransientError, match="1 of 1"):
        eventbridge.EventBus("regcred").announce([event()])


def test_a_project_is_assumed_with_its_name_once_while_its_session_lasts(stubbed) -> None:
    sts = stubbed("sts")
    keys = {"AccessKeyId": "ASIAASIAASIAASIA", "SecretAccessKey": "s3cr3t", "SessionToken": "t0ken"}
    for life in (timedelta(minutes=1), timedelta(hours=1)):
        sts.add_response(
            "assume_role",
            {"Credentials": keys | {"Expiration": datetime.now(UTC) + life}},
            {
                "RoleArn": ROLE,
                "RoleSessionName": "regcred-payments",
                "ExternalId": "payments",
                "Tags": [{"Key": "project", "Value": "payments"}],
            },
        )
    identities = sts_adapter.ProjectIdentities()
    policy = ProjectPolicy(role_arn=ROLE)
    found = [identities.of("payments", policy).aws() for _ in range(3)]
    assert found[1] is found[2]
    assert "s3cr3t" not in repr(found)


def test_a_project_without_role_is_told_whom_to_ask() -> None:
    with pytest.raises(MissingError, match="platform/projects/payments"):
        sts_adapter.ProjectIdentities().of("payments", ProjectPolicy()).aws()


def test_a_project_whose_name_is_no_external_id_is_told_so() -> None:
    """STS takes external ids of 2 characters and more; botocore checks it before anything is sent."""
    with pytest.raises(MalformedError, match="a longer name"):
        sts_adapter.ProjectIdentities().of("p", ProjectPolicy(role_arn=ROLE)).aws()


def test_input_that_aws_would_not_take_is_no_passing_failure() -> None:
    client = boto3.client("sts", region_name="eu-central-1")
    with (
        pytest.raises(MalformedError, match="RoleArn, ExternalId"),
        aws_sdk.translated("assuming", remedy="-"),
    ):
        client.assume_role(RoleArn="short", RoleSessionName="regcred", ExternalId="p")


def test_registries_that_wait_for_their_projects_role_share_one_failure() -> None:
    """Else each would wait for STS in turn, where no way leads to it, until the function is ended without a
    word."""
    asked: list[str] = []
    waiting = threading.Barrier(9)

    def assume_role(**call: Any) -> NoReturn:
        asked.append(call["RoleArn"])
        threading.Event().wait(0.2)
        raise ConnectTimeoutError(endpoint_url="https://sts.eu-central-1.amazonaws.com")

    identity = sts_adapter.ProjectIdentity("payments", ROLE)
    identity.__dict__["_sts"] = SimpleNamespace(assume_role=assume_role)

    def ask() -> None:
        waiting.wait()
        with pytest.raises(TransientError, match="ConnectTimeoutError"):
            identity.aws()

    with ThreadPoolExecutor(9) as pool:
        for done in [pool.submit(ask) for _ in range(9)]:
            done.result()
    assert asked == [ROLE]
    with pytest.raises(TransientError):
        identity.aws()
    assert len(asked) == 2


def test_tokens_of_a_project_need_one_client_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    until = datetime.now(UTC) + timedelta(hours=1)
    keys = {"AccessKeyId": "ASIAASIAASIAASIA", "SecretAccessKey": "s3cr3t", "SessionToken": "t0ken"}

    def own_client(service: str) -> Any:
        made.append(service)
        return SimpleNamespace(
            meta=SimpleNamespace(region_name="eu-central-1"),
            assume_role=lambda **_: {"Credentials": keys | {"Expiration": until}},
        )

    monkeypatch.setattr(sts_adapter, "own_client", own_client)
    signed = SimpleNamespace(get_web_identity_token=lambda **_: {"WebIdentityToken": "ey"})
    monkeypatch.setattr(aws_sdk, "client", lambda *_args, **_kwargs: signed)
    identity = sts_adapter.ProjectIdentity("payments", ROLE)
    for _ in range(3):
        identity.web_identity_token("api://AzureADTokenExchange", timedelta(minutes=5))
    assert made == ["sts"]


def test_a_service_that_does_not_answer_is_given_up_while_the_function_can_still_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    config = aws_clients.own_client("sts").meta.config
    assert (config.connect_timeout + config.read_timeout) * config.retries["total_max_attempts"] <= 25


def test_a_projects_keys_are_in_no_log_whatever_its_level(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """botocore logs whole answers at level DEBUG, which Lambda's own log settings can switch on for all
    loggers."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "ours")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    for name in ("botocore.parsers", "botocore.endpoint", "botocore.auth", "botocore.hooks"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAASIAASIAASIA</AccessKeyId><SecretAccessKey>s3cr3t-of-the-project</SecretAccessKey>
<SessionToken>t0ken-of-the-project</SessionToken><Expiration>{until}</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>"""
    answer = transport.Answer(200, {"content-type": "text/xml"}, body.encode())
    monkeypatch.setattr(transport, "send_signed", lambda *_, **__: answer)
    client = aws_clients.own_client("sts")
    monkeypatch.setattr(sts_adapter, "own_client", lambda _service: client)
    assert sts_adapter.ProjectIdentity("payments", ROLE).aws().access_key_id == "ASIAASIAASIAASIA"
    assert "of-the-project" not in caplog.text


def settings(**given: str) -> RotateSettings:
    base = {"VAULT_ADDR": "https://vault.example.com", "VAULT_ROLE": "rotate", "EVENT_BUS": "regcred"}
    return RotateSettings.load({f"REGCRED_{name}": value for name, value in (base | given).items()})


def test_the_sign_in_is_by_jwt_or_by_iam() -> None:
    by_jwt = aws.vault_login(settings())
    assert isinstance(by_jwt, JwtLogin)
    assert (by_jwt.mount, by_jwt.role) == ("regcred-lambda", "rotate")
    by_iam = aws.vault_login(settings(VAULT_AUTH="aws", VAULT_SERVER_ID="vault.example.com"))
    assert isinstance(by_iam, AwsIamLogin)
    assert (by_iam.mount, by_iam.server_id) == ("regcred-lambda-iam", "vault.example.com")


def test_federation_that_is_switched_off_says_how_to_switch_it_on(stubbed) -> None:
    code = "OutboundWebIdentityFederationDisabledException"
    stubbed("sts").add_client_error("get_web_identity_token", code, http_status_code=403)
    with pytest.raises(RefusedError, match="switch on outbound web identity federation"):
        sts_adapter.own_jwt("vault")


def test_the_certificates_of_a_private_authority_become_a_file() -> None:
    path = Path(aws.ca_file(settings(VAULT_CA_PEM="-----BEGIN CERTIFICATE-----")))
    assert path.read_text() == "-----BEGIN CERTIFICATE-----"
    assert aws.ca_file(settings(VAULT_CA_FILE="/opt/ca.pem")) == "/opt/ca.pem"


def test_a_comment_above_a_certificate_may_be_in_any_language() -> None:
    path = Path(
        aws.ca_file(settings(VAULT_CA_PEM="Zertifizierungsstelle für Müller\n-----BEGIN CERTIFICATE-----"))
    )
    assert path.read_text("utf-8").startswith("Zertifizierungsstelle für")


@pytest.mark.parametrize("name", ["dispatch", "rotate"])
def test_importing_a_function_connects_to_nobody_and_starts_nothing(name: str) -> None:
    """A snapshot of it (SnapStart) is restored many times: no connection and no thread may be in it."""
    root = Path(__file__).resolve().parents[2]
    script = f"""
import os, sys
started, watched = set(), ("socket.connect", "socket.getaddrinfo", "subprocess.Popen")
sys.addaudithook(lambda event, arguments: started.add(event) if event in watched else None)
sys.path.insert(0, {str(root / "functions" / name)!r})
import app
import threading
assert threading.active_count() == 1
assert not started, started
assert not {{"azure", "google.auth", "kubernetes", "yaml", "asyncio"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
