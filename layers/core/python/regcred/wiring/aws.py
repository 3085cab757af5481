"""The real classes on AWS: Vault sign-in, the queue, the event bus, the projects' identities.

Clients are made when they are first used and kept over warm invocations. boto3 itself is imported here, since every
invocation needs it and Lambda's init phase is where it costs least; nothing else happens at import. Of the verbs, only what
its function needs is loaded.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from pydantic import SecretStr

from regcred.errors import MalformedError, MissingError, RegcredError, TransientError
from regcred.registry import aws
from regcred.registry.interface import AwsCredentials
from regcred.settings import Settings, VaultAuth
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import AwsIamLogin, AwsKeys, JwtLogin, Login
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.store import Store

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

    from regcred.dispatch import Envelope
    from regcred.rotate import Event

T = TypeVar("T")

BATCH = 10
"""The most entries of one SendMessageBatch or PutEvents call."""

SOURCE = "regcred"
"""The ``source`` of our events."""

TOKEN_SECONDS = 300
"""How long a JWT for the sign-in to Vault lives; it is used at once."""

EARLY = timedelta(minutes=5)
"""A role's session is replaced this long before it ends."""

EXTERNAL_ID_MIN = 2
"""The shortest external id in characters (STS AssumeRole)."""

ALGORITHM = "RS256"
"""How STS signs JWTs; every party that takes JWTs of AWS knows it (Azure knows no other of the two)."""


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


def own_client(service: Any) -> Any:
    """A client with the function's own role, in the function's region.

    It gives up after 24 seconds and its pauses: while the function can still say what did not answer.
    """
    config = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
    aws.silence()
    with aws.CREATING, aws.own_setup():
        return boto3.client(service, config=config)


def store(settings: Settings) -> Store:
    """The records in Vault. Signs in at the first request, and again before the token expires."""
    server = Server(settings.vault_addr, namespace=settings.vault_namespace, ca_file=_ca_file(settings))
    return Store(connect(server, vault_login(settings), mount=settings.vault_mount, now=utc_now))


def vault_login(settings: Settings) -> Login:
    """How the function signs in."""
    if settings.vault_auth is VaultAuth.AWS:
        return AwsIamLogin(
            settings.auth_mount,
            settings.vault_role,
            own_keys,
            server_id=settings.vault_server_id,
            region=settings.vault_sts_region,
        )
    return JwtLogin(settings.auth_mount, settings.vault_role, lambda: own_jwt(settings.vault_audience))


def _ca_file(settings: Settings) -> str:
    """The file of the private authority; requests takes no certificates but from a file."""
    if settings.vault_ca_file or not settings.vault_ca_pem:
        return settings.vault_ca_file
    path = Path(tempfile.gettempdir()) / "regcred-vault-ca.pem"
    path.write_text(settings.vault_ca_pem, "utf-8")
    return str(path)


def own_keys() -> AwsKeys:
    """The session keys of the function's role."""
    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise MissingError("there are no AWS credentials to sign in to Vault with; run it under an IAM role")
    frozen = credentials.get_frozen_credentials()
    return AwsKeys(
        str(frozen.access_key),
        SecretStr(str(frozen.secret_key)),
        SecretStr(frozen.token) if frozen.token else None,
    )


def own_jwt(audience: str) -> SecretStr:
    """A JWT of the function's role for one audience."""
    return _jwt(own_client("sts"), audience, timedelta(seconds=TOKEN_SECONDS), who="the function's role")


def _jwt(sts: STSClient, audience: str, lifetime: timedelta, *, who: str) -> SecretStr:
    remedy = f"allow {who} sts:GetWebIdentityToken, and switch on outbound web identity federation in the AWS account"
    with aws.translated(f"a web identity token for {audience}", remedy=remedy):
        answer = sts.get_web_identity_token(
            Audience=[audience], SigningAlgorithm=ALGORITHM, DurationSeconds=int(lifetime.total_seconds())
        )
    return SecretStr(answer["WebIdentityToken"])


@dataclass(frozen=True)
class SqsQueue:
    """:class:`regcred.dispatch.Queue` over an SQS FIFO queue, group = project."""

    url: str

    @cached_property
    def _client(self) -> SQSClient:
        client: SQSClient = own_client("sqs")
        return client

    def send(self, messages: Sequence[Envelope]) -> None:
        """See :class:`Queue`."""
        failed = sum(self._send(part) for part in _parts(messages))
        if failed:
            raise TransientError(
                f"SQS did not take {failed} of {len(messages)} messages; the next sweep sends them"
            )

    def _send(self, part: Sequence[Envelope]) -> int:
        with aws.translated("sending to the queue", remedy="allow the function's role sqs:SendMessage"):
            answer = self._client.send_message_batch(
                QueueUrl=self.url,
                Entries=[
                    {
                        "Id": str(number),
                        "MessageBody": envelope.message.body(),
                        "MessageGroupId": envelope.message.project,
                        "MessageDeduplicationId": envelope.deduplication_id,
                    }
                    for number, envelope in enumerate(part)
                ],
            )
        return len(answer.get("Failed", ()))


@dataclass(frozen=True)
class EventBus:
    """:class:`regcred.rotate.Announcer` over EventBridge."""

    name: str

    @cached_property
    def _client(self) -> EventBridgeClient:
        client: EventBridgeClient = own_client("events")
        return client

    def announce(self, events: Sequence[Event]) -> None:
        """See :class:`Announcer`."""
        failed, why = 0, ""
        for part in _parts(events):
            try:
                failed += self._put(part)
            except RegcredError as error:  # the parts after it may fare better
                failed, why = failed + len(part), f": {error}"
        if failed:
            raise TransientError(f"EventBridge did not take {failed} of {len(events)} events{why}")

    def _put(self, part: Sequence[Event]) -> int:
        with aws.translated("announcing", remedy="allow the function's role events:PutEvents on the bus"):
            answer = self._client.put_events(
                Entries=[
                    {
                        "EventBusName": self.name,
                        "Source": SOURCE,
                        "DetailType": event.announced.value,
                        "Detail": json.dumps(detail(event)),
                        "Resources": [f"regcred:{event.reference}"],
                    }
                    for event in part
                ]
            )
        return answer["FailedEntryCount"]


def detail(event: Event) -> dict[str, Any]:
    """What an event tells: the registry's index entry, which holds no secret."""
    told = event.entry.model_dump(mode="json", exclude_defaults=True, exclude={"fingerprint"})
    return {"project": event.reference.project, "registry": event.reference.registry} | told


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


@dataclass
class ProjectIdentities:
    """Each project's own IAM role, assumed when it is first needed and kept while its session lasts."""

    _kept: dict[tuple[str, str], ProjectIdentity] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def of(self, project: str, policy: ProjectPolicy) -> ProjectIdentity:
        """See :class:`regcred.rotate.Identities`."""
        with self._lock:
            return self._kept.setdefault(
                (project, policy.role_arn), ProjectIdentity(project, policy.role_arn)
            )


@dataclass
class ProjectIdentity:
    """:class:`regcred.registry.interface.Identity` by AssumeRole, with ExternalId and session tag = project."""

    project: str
    role_arn: str
    _credentials: AwsCredentials | None = field(default=None, repr=False)
    _failed: tuple[datetime, RegcredError] | None = field(default=None, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @cached_property
    def _sts(self) -> STSClient:
        """With the function's own role; made by the first who holds the lock."""
        client: STSClient = own_client("sts")
        return client

    def aws(self) -> AwsCredentials:
        """See :class:`Identity`. Who waited while another asked in vain is told the same, and asks no more."""
        since = utc_now()
        with self._lock:
            if self._failed and self._failed[0] >= since:
                raise self._failed[1]
            if self._credentials is None or self._credentials.expires_at - EARLY <= utc_now():
                try:
                    self._credentials = self._assume()
                except RegcredError as error:
                    self._failed = (utc_now(), error)
                    raise
            return self._credentials

    def web_identity_token(self, audience: str, lifetime: timedelta) -> SecretStr:
        """See :class:`Identity`."""
        sts = aws.client("sts", self.aws(), region=self._sts.meta.region_name)
        return _jwt(sts, audience, lifetime, who=self.role_arn)

    def _assume(self) -> AwsCredentials:
        if not self.role_arn:
            raise MissingError(
                f"project {self.project} has no IAM role of its own; ask a platform admin to set 'role_arn' in "
                f"platform/projects/{self.project}"
            )
        if len(self.project) < EXTERNAL_ID_MIN:
            raise MalformedError(
                f"project {self.project}: AWS takes no external id of one character; give the project a longer name",
                field="project",
            )
        remedy = f"check that its trust policy names rotate's role, the external id {self.project!r} and sts:TagSession"
        with aws.translated(f"assuming {self.role_arn}", remedy=remedy):
            answer = self._sts.assume_role(
                RoleArn=self.role_arn,
                RoleSessionName=f"regcred-{self.project}"[:64],
                ExternalId=self.project,
                Tags=[{"Key": "project", "Value": self.project}],
            )["Credentials"]
        return AwsCredentials(
            access_key_id=answer["AccessKeyId"],
            secret_access_key=SecretStr(answer["SecretAccessKey"]),
            session_token=SecretStr(answer["SessionToken"]),
            expires_at=answer["Expiration"],
        )
