"""The classes that call AWS, with botocore's Stubber, which checks requests and answers against its
models."""

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
    """Stub the client of a service. Each expected call must happen."""
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


def test_an_error_counts_the_messages_that_the_queue_refused(stubbed) -> None:
    failed = {"Id": "1", "SenderFault": False, "Code": "InternalError"}
    stubbed("sqs").add_response("send_message_batch", {"Successful": [], "Failed": [failed]})
    with pytest.raises(TransientError, match="1 of 2"):
        sqs_adapter.SqsQueue(QUEUE).send(envelopes(2))


def test_a_denied_queue_call_names_the_missing_permission(stubbed) -> None:
    stubbed("sqs").add_client_error("send_message_batch", "AccessDenied", http_status_code=403)
    with pytest.raises(RefusedError, match="sqs:SendMessage"):
        sqs_adapter.SqsQueue(QUEUE).send(envelopes(1))


@pytest.mark.parametrize("code", ["RequestThrottled", "ThrottledException", "SlowDown", "KmsThrottled"])
def test_throttling_is_transient_even_with_status_403(stubbed, code: str) -> None:
    stubbed("sqs").add_client_error("send_message_batch", code, http_status_code=403)
    with pytest.raises(TransientError, match=code):
        sqs_adapter.SqsQueue(QUEUE).send(envelopes(1))


def event() -> Event:
    entry = IndexEntry(state=State.OK, version=3, fingerprint="f1ng3r", provider="ecr", changed_at=NOW)
    return Event(Announced.ROTATED, Reference("payments", "prod"), entry)


def test_an_event_contains_the_index_entry_without_the_fingerprint(stubbed) -> None:
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


def test_a_projects_role_is_assumed_once_while_its_session_lasts(stubbed) -> None:
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


def test_an_error_about_a_project_without_a_role_names_the_document() -> None:
    with pytest.raises(MissingError, match="platform/projects/payments"):
        sts_adapter.ProjectIdentities().of("payments", ProjectPolicy()).aws()


def test_a_project_name_of_one_character_cannot_be_an_external_id() -> None:
    """An external ID has at least two characters, which botocore checks before it sends the request."""
    with pytest.raises(MalformedError, match="a longer name"):
        sts_adapter.ProjectIdentities().of("p", ProjectPolicy(role_arn=ROLE)).aws()


def test_input_that_fails_aws_validation_is_malformed() -> None:
    client = boto3.client("sts", region_name="eu-central-1")
    with (
        pytest.raises(MalformedError, match="RoleArn, ExternalId"),
        aws_sdk.translated("assuming", remedy="-"),
    ):
        client.assume_role(RoleArn="short", RoleSessionName="regcred", ExternalId="p")


def test_registries_that_wait_for_their_projects_role_share_one_failed_call() -> None:
    """Otherwise, without a route to STS, each would wait for its own timeout, until Lambda ends the function
    without a report."""
    called: list[str] = []
    waiting = threading.Barrier(9)

    def assume_role(**call: Any) -> NoReturn:
        called.append(call["RoleArn"])
        threading.Event().wait(0.2)
        raise ConnectTimeoutError(endpoint_url="https://sts.eu-central-1.amazonaws.com")

    identity = sts_adapter.ProjectIdentity("payments", ROLE)
    identity.__dict__["_sts"] = SimpleNamespace(assume_role=assume_role)

    def sign_in() -> None:
        waiting.wait()
        with pytest.raises(TransientError, match="ConnectTimeoutError"):
            identity.aws()

    with ThreadPoolExecutor(9) as pool:
        for done in [pool.submit(sign_in) for _ in range(9)]:
            done.result()
    assert called == [ROLE]
    with pytest.raises(TransientError):
        identity.aws()
    assert len(called) == 2


def test_a_projects_identity_creates_one_sts_client(monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[str] = []
    until = datetime.now(UTC) + timedelta(hours=1)
    keys = {"AccessKeyId": "ASIAASIAASIAASIA", "SecretAccessKey": "s3cr3t", "SessionToken": "t0ken"}

    def own_client(service: str) -> Any:
        created.append(service)
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
    assert created == ["sts"]


def test_an_aws_call_times_out_before_the_function_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    config = aws_clients.own_client("sts").meta.config
    assert (config.connect_timeout + config.read_timeout) * config.retries["total_max_attempts"] <= 25


def test_a_projects_keys_are_in_no_log_at_any_level(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """botocore logs whole answers at level DEBUG, which Lambda's log settings can set for all loggers."""
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


def test_a_setting_selects_the_sign_in_by_jwt_or_by_iam() -> None:
    by_jwt = aws.vault_login(settings())
    assert isinstance(by_jwt, JwtLogin)
    assert (by_jwt.mount, by_jwt.role) == ("regcred-lambda", "rotate")
    by_iam = aws.vault_login(settings(VAULT_AUTH="aws", VAULT_SERVER_ID="vault.example.com"))
    assert isinstance(by_iam, AwsIamLogin)
    assert (by_iam.mount, by_iam.server_id) == ("regcred-lambda-iam", "vault.example.com")


def test_an_error_about_disabled_federation_says_how_to_enable_it(stubbed) -> None:
    code = "OutboundWebIdentityFederationDisabledException"
    stubbed("sts").add_client_error("get_web_identity_token", code, http_status_code=403)
    with pytest.raises(RefusedError, match="switch on outbound web identity federation"):
        sts_adapter.own_jwt("vault")


def test_certificates_in_a_setting_are_written_to_a_file() -> None:
    path = Path(aws.ca_file(settings(VAULT_CA_PEM="-----BEGIN CERTIFICATE-----")))
    assert path.read_text() == "-----BEGIN CERTIFICATE-----"
    assert aws.ca_file(settings(VAULT_CA_FILE="/opt/ca.pem")) == "/opt/ca.pem"


def test_a_comment_above_a_certificate_may_contain_any_character() -> None:
    path = Path(
        aws.ca_file(settings(VAULT_CA_PEM="Zertifizierungsstelle für Müller\n-----BEGIN CERTIFICATE-----"))
    )
    assert path.read_text("utf-8").startswith("Zertifizierungsstelle für")


@pytest.mark.parametrize("name", ["dispatch", "rotate"])
def test_importing_a_function_opens_no_connection_and_starts_no_thread(name: str) -> None:
    """SnapStart restores the snapshot of a function many times, so it must contain no connection and no
    thread."""
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
