"""Decides what a registry needs, and what a verdict on its credential means. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from regcred.credential import Credential, Verified
from regcred.errors import MalformedError, RefusedError
from regcred.registry.interface import Verdict, Verification
from regcred.registry_reference import Reference
from regcred.rotation_due import due, edited, is_static
from regcred.rotation_message import RotationReason
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.declared import Action, Definition, Request
from regcred.vault.records.index import NOT_VERIFIED, IndexEntry, State
from regcred.vault.records.rotation import Rotation
from regcred.vault.store import Versioned


class Task(StrEnum):
    """The work that a registry needs now."""

    MINT = "mint"
    VERIFY = "verify"
    REVOKE = "revoke"
    REMOVE = "remove"
    REPAIR = "repair"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Answered:
    """The requests that were handled, by version. 0 means none."""

    request: int = 0
    revocation: int = 0

    def __bool__(self) -> bool:
        return bool(self.request or self.revocation)


NO_REQUEST = Answered()
"""No request was handled."""


@dataclass(frozen=True, slots=True)
class RegistryDocuments:
    """The documents of one registry, read after its claim."""

    reference: Reference
    rotation: Versioned[Rotation]
    entry: IndexEntry | None
    definition: Definition | MalformedError | None
    """The definition, or the reason why it can't be read, or None if it does not exist."""
    definition_version: int
    request: Versioned[Request] | None
    """The request, unless it is a revocation."""
    revocation: Versioned[Request] | None
    stored: Versioned[CredentialRecord] | None
    version: int
    """The newest version of the credential, even if it was destroyed."""
    unreadable: bool = False
    """Whether the index has an entry that can't be read."""
    revoked: bool = False
    """Whether the unreadable entry must have been that of a revoked credential."""
    broken: Answered = NO_REQUEST
    """Requests that can't be read. They are deleted, because they can't be handled."""

    @property
    def provider(self) -> str:
        """The provider's name; empty if unknown."""
        if isinstance(self.definition, Definition):
            return self.definition.provider
        return self.entry.provider if self.entry else ""

    @property
    def newest_version(self) -> int:
        """The newest version that readers may know.

        The entry can have a higher one, because the numbering starts again if the metadata are deleted.
        """
        return max(self.version, self.entry.version if self.entry else 0)

    @property
    def wanted(self) -> Request | None:
        """The request to handle now.

        A revocation comes first. If it was handled and only the vendor must be called again, a newer request
        counts.
        """
        request = self.request.value if self.request else None
        if self.revocation is None:
            return request
        requested_at = self.revocation.value.requested_at
        acted_on = self.entry and self.entry.state is State.REVOKED and self.entry.changed_at >= requested_at
        return request if self._came_after and acted_on else self.revocation.value

    @property
    def answerable(self) -> Answered:
        """The requests that this work answers. A revocation also ends the requests before it."""
        request = self.request.version if self.request else self.broken.request
        revocation = self.revocation.version if self.revocation else self.broken.revocation
        if self._came_after and self.wanted is not (self.request and self.request.value):
            return Answered(revocation=revocation)
        return Answered(request, revocation)

    @property
    def _came_after(self) -> bool:
        """Whether there is a request that is newer than a revocation."""
        if self.request is None or self.revocation is None:
            return False
        return self.request.value.requested_at > self.revocation.value.requested_at


def decide(seen: RegistryDocuments, reason: RotationReason, *, now: datetime) -> Task:
    """Decide what to do about a registry now. The reason in the message does not matter."""
    entry = seen.entry
    if seen.definition is None:
        gone = (entry is None and not seen.unreadable) or (entry and entry.state is State.REMOVED)
        return Task.NOTHING if gone and seen.stored is None else Task.REMOVE
    if seen.wanted is not None:
        return _task_of_request(seen.wanted, entry, now=now)
    if seen.revoked:
        return Task.REVOKE
    if seen.stored and seen.version > (entry.version if entry else 0) and _alive(seen.stored.value, now=now):
        return Task.REPAIR
    check = reason is RotationReason.CHECK and entry and is_static(entry)
    if check or due(entry, now=now) or (entry and edited(entry, seen.definition_version)):
        return Task.MINT
    return Task.NOTHING


def _task_of_request(request: Request, entry: IndexEntry | None, *, now: datetime) -> Task:
    if entry and entry.state is State.REVOKED and _tried_since(request, entry, now=now):
        return Task.NOTHING
    if request.action is Action.REVOKE:
        return Task.REVOKE
    return Task.VERIFY if request.action is Action.VERIFY else Task.MINT


def _tried_since(request: Request, entry: IndexEntry, *, now: datetime) -> bool:
    """Whether a request failed and its next attempt is in the future."""
    return (
        request.requested_at <= entry.changed_at
        and entry.next_attempt_at is not None
        and entry.next_attempt_at > now
    )


def _alive(record: CredentialRecord, *, now: datetime) -> bool:
    return record.expires_at is None or record.expires_at > now


@dataclass(frozen=True, slots=True)
class Judgement:
    """The meaning of a verdict for a credential."""

    verified: Verified
    unverified: str = ""
    """Why the check was inconclusive, if it was."""
    warning: str = ""


UNTRIED = Judgement(Verified.UNKNOWN, NOT_VERIFIED)
"""The judgement for a credential that an earlier run wrote before it crashed."""


def judge(verification: Verification, *, static: bool) -> Judgement:
    """Decide what a verdict means for a credential.

    Raises:
        RefusedError: the credential must not be written.
    """
    detail = verification.detail
    match verification.verdict:
        case Verdict.REFUSED:
            raise RefusedError(f"the registry refuses the credential: {detail}")
        case Verdict.WIDER if not static:
            raise RefusedError(
                f"the credential is wider than requested: {detail}; reduce the rights of the upstream "
                "secret or role"
            )
        case Verdict.WIDER:
            warning = f"{detail}; use an upstream secret that may only pull"
            return Judgement(Verified.YES, warning=warning)
        case Verdict.INCONCLUSIVE if verification.login_accepted:
            return Judgement(Verified.LOGIN)
        case Verdict.INCONCLUSIVE:
            return Judgement(Verified.UNKNOWN, unverified=detail or NOT_VERIFIED)
        case Verdict.CAN_PULL:
            return Judgement(Verified.YES)


def needs_proof(seen: RegistryDocuments, credential: Credential) -> bool:
    """Whether a credential must be verified before it is used.

    The next credential of an unchanged definition need not: its vendor has just created it, and the previous
    one will expire.
    """
    if seen.stored is None:
        return True
    stored = seen.stored.value
    if credential.is_static:
        return stored.dockerconfigjson != credential.dockerconfigjson()
    return stored.definition_version != seen.definition_version
