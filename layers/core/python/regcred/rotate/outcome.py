"""The results of a run, and the events about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from regcred.errors import RegcredError, TransientError
from regcred.reference import Reference
from regcred.rotate.claim import HeldClaim
from regcred.rotate.decide import NOBODY, Answered
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
        """Emit the events.

        Raises:
            RegcredError: some or all were not taken.
        """


class OutOfTimeError(TransientError):
    """A run ends before it has started all registries of its message. Vault works."""


class RotationResult(StrEnum):
    """The result for one registry of a message."""

    ROTATED = "rotated"
    UNCHANGED = "unchanged"
    """A static credential is still what its upstream says; nothing was written."""
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    """The credential in force could not be tried, and stays in force."""
    FAILING = "failing"
    REVOKED = "revoked"
    REMOVED = "removed"
    REPAIRED = "repaired"
    """The index was behind the credential after a crash; nothing was minted."""
    TOO_SOON = "too-soon"
    """Its turn would end what clusters still use. Nothing changes, and this is not a failure."""
    DROPPED = "dropped"
    """No longer due."""
    BUSY = "busy"
    """Somebody else holds the claim."""


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
        """Raise the first of the errors, if there are any."""
        if self.errors:
            raise self.errors[0]


@dataclass(slots=True)
class Result:
    """What one registry adds to its message's outcome: applied together, index first."""

    outcome: Outcome
    entry: IndexEntry | None = None
    event: Announced | None = None
    answered: Answered = NOBODY
    """The requests that were acted on."""
    claim: HeldClaim | None = None
    at: datetime | None = None
    """When the outcome was known; None where nothing was tried."""
    took: timedelta = timedelta()
    """How long it took."""
    forget: bool = False
    """Whether the rotation document goes as well."""
