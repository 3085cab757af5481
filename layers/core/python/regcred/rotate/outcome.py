"""The results of a run, and the events about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from regcred.errors import RegcredError, TransientError
from regcred.registry_reference import Reference
from regcred.rotate.decide import NO_REQUEST, Answered
from regcred.rotate.registry_claim import HeldClaim
from regcred.vault.records.index import IndexEntry


class Announced(StrEnum):
    """The events that others can subscribe to."""

    ROTATED = "CredentialRotated"
    FAILING = "CredentialFailing"
    REVOKED = "CredentialRevoked"


@dataclass(frozen=True, slots=True)
class Event:
    """One event, made from an index entry. It contains no secret."""

    announced: Announced
    reference: Reference
    entry: IndexEntry


class Announcer(Protocol):
    """Sends events."""

    def announce(self, events: Sequence[Event]) -> None:
        """Send the events.

        Raises:
            RegcredError: some or all were not accepted.
        """


class OutOfTimeError(TransientError):
    """A run ends before it has started all registries of its message. Vault works."""


class RotationResult(StrEnum):
    """The result for one registry of a message."""

    ROTATED = "rotated"
    UNCHANGED = "unchanged"
    """A static credential equals its upstream secret. Nothing was written."""
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    """The credential in use could not be verified, and stays in use."""
    FAILING = "failing"
    REVOKED = "revoked"
    REMOVED = "removed"
    REPAIRED = "repaired"
    """A crash had left the credential out of the index. Nothing was minted."""
    TOO_SOON = "too-soon"
    """A new credential would end one that clusters still use. Nothing was changed. This is not a failure."""
    DROPPED = "dropped"
    """The registry is no longer due."""
    BUSY = "busy"
    """Another run holds the claim."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done about one registry, for the log and the metrics."""

    reference: Reference
    done: RotationResult
    provider: str = ""
    version: int = 0
    error: str = ""
    error_kind: str = ""


@dataclass(frozen=True, slots=True)
class RotationReport:
    """The result of a run."""

    outcomes: list[Outcome] = field(default_factory=list)
    """The result for each registry that was handled. A vendor's failure is a result, and the index records
    it."""
    errors: list[RegcredError] = field(default_factory=list)
    """Why others were not handled: Vault failed, or time ran out. The message must be delivered again for
    them."""

    def check(self) -> None:
        """Raise the first error, if there is one."""
        if self.errors:
            raise self.errors[0]


@dataclass(slots=True)
class Result:
    """The result of one registry, to be written with those of the whole message: first the index."""

    outcome: Outcome
    entry: IndexEntry | None = None
    event: Announced | None = None
    answered: Answered = NO_REQUEST
    """The requests that were handled."""
    claim: HeldClaim | None = None
    at: datetime | None = None
    """When the outcome was known; None if nothing was tried."""
    took: timedelta = timedelta()
    """The duration."""
    forget: bool = False
    """Whether to remove the rotation document, because the registry was removed."""
    traceparent: str = ""
    """The step of a trace that led to it; empty while tracing is off."""
