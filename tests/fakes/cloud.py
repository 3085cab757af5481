"""Fakes of what rotate and dispatch use besides Vault: a provider, a verifier, a queue and an event bus."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from regcred.credential import Credential, Login
from regcred.dispatch import QueuedMessage
from regcred.errors import MissingError, RegcredError
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import (
    AwsCredentials,
    IssuedCredential,
    MintContext,
    Revoked,
    Verdict,
    Verification,
)
from regcred.rotate import Event
from regcred.vault.records.declared import ProjectPolicy


@dataclass
class Clock:
    """A clock that only :meth:`tick` moves."""

    time: datetime = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def tick(self, **by: float) -> datetime:
        self.time += timedelta(**by)
        return self.time


@dataclass
class FakeProvider:
    """Creates a new password each time, or raises ``error`` while it is set."""

    life: timedelta | None = timedelta(hours=12)
    error: Exception | None = None
    revoked: Revoked | RegcredError = Revoked.YES
    contexts: list[MintContext] = field(default_factory=list)
    revocations: list[str] = field(default_factory=list)
    ended: list[IssuedCredential] = field(default_factory=list)
    meanwhile: Callable[[], None] = field(default=lambda: None)
    """Runs in the middle of :meth:`mint`: what another process does at the same time."""
    password: Callable[[int], str] = field(default=lambda number: f"s3cr3t-{number}")

    def mint(self, definition: BaseDefinition, context: MintContext) -> Credential:
        self.contexts.append(context)
        self.meanwhile()
        if self.error:
            raise self.error
        number = len(self.contexts)
        return Credential(
            provider=definition.provider,
            logins=(Login("AWS", SecretStr(self.password(number)), ("registry.example.com",)),),
            issued_at=context.now(),
            expires_at=self.life and context.now() + self.life,
            revocation_id=f"token-{number}",
        )

    def revoke(self, definition: BaseDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        self.revocations.append(issued.revocation_id)
        self.ended.append(issued)
        if isinstance(self.revoked, RegcredError):
            raise self.revoked
        return self.revoked


@dataclass
class FakeVerifier:
    verdict: Verdict = Verdict.CAN_PULL
    verified: list[Credential] = field(default_factory=list)

    def verify(self, definition: BaseDefinition, credential: Credential) -> Verification:
        self.verified.append(credential)
        return Verification(self.verdict, f"the fake says {self.verdict}")


class NoIdentity:
    """An identity without any AWS credentials or tokens."""

    def aws(self) -> AwsCredentials:
        raise MissingError("the fake has no AWS role")

    def web_identity_token(self, audience: str, lifetime: timedelta) -> SecretStr:
        raise MissingError(f"the fake has no token for {audience} ({lifetime})")


class FakeIdentities:
    def of(self, project: str, policy: ProjectPolicy) -> NoIdentity:
        return NoIdentity()


@dataclass
class FakeAnnouncer:
    events: list[Event] = field(default_factory=list)
    error: RegcredError | None = None

    def announce(self, events: Sequence[Event]) -> None:
        if self.error:
            raise self.error
        self.events.extend(events)


@dataclass
class FakeQueue:
    """Drops a message whose deduplication id it has seen, as an SQS FIFO queue does for five minutes."""

    error: RegcredError | None = None
    sent: list[QueuedMessage] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def send(self, messages: Sequence[QueuedMessage]) -> None:
        if self.error:
            raise self.error
        known = {envelope.deduplication_id for envelope in self.sent}
        for envelope in messages:
            if envelope.deduplication_id in known:
                self.dropped[envelope.message.project] += 1
            else:
                self.sent.append(envelope)

    def reasons(self) -> dict[str, Any]:
        """For each reference, the reason in the message sent last."""
        return {
            f"{envelope.message.project}/{name}": reason
            for envelope in self.sent
            for name, reason in envelope.message.registries.items()
        }
