"""Builds the index entry for each outcome. Pure."""

from __future__ import annotations

from datetime import datetime

from regcred.errors import RegcredError, TransientError
from regcred.rotate.backoff import LONGEST_WAIT, next_attempt
from regcred.rotate.decide import UNTRIED, Judgement, RegistryDocuments
from regcred.rotation_due import edited
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.index import IndexEntry, State

ERROR_MAX = 1000
"""The maximum length of a stored error in characters. Some errors quote vendors."""


def in_force(
    record: CredentialRecord,
    *,
    version: int,
    definition_version: int,
    now: datetime,
    judgement: Judgement = UNTRIED,
) -> IndexEntry:
    """The entry for a credential in use."""
    return IndexEntry(
        state=State.OK,
        version=version,
        fingerprint=record.fingerprint,
        provider=record.provider,
        hosts=list(record.hosts),
        expires_at=record.expires_at,
        refresh_at=record.refresh_at,
        definition_version=definition_version,
        verified=judgement.verified,
        unverified=judgement.unverified[:ERROR_MAX],
        warning=judgement.warning[:ERROR_MAX],
        changed_at=now,
    )


def judged(entry: IndexEntry, judgement: Judgement, *, now: datetime) -> IndexEntry:
    """The entry after the credential in use was verified again."""
    return entry.model_copy(
        update={
            "verified": judgement.verified,
            "unverified": judgement.unverified[:ERROR_MAX],
            "warning": judgement.warning[:ERROR_MAX],
            "answer": "",
            "changed_at": now,
        }
    )


def failing(seen: RegistryDocuments, error: RegcredError, *, now: datetime) -> IndexEntry:
    """The entry after a failed attempt. The credential in use stays."""
    old = seen.entry
    base = old or IndexEntry(state=State.FAILING, provider=seen.provider, changed_at=now)
    attempts = _attempts(seen)
    again = next_attempt(error, attempts=attempts, reference=seen.reference, entry=old, now=now)
    if seen.wanted and base.next_attempt_at and base.next_attempt_at > now and not _asks_to_wait(error):
        again = min(again, base.next_attempt_at)
    return base.model_copy(
        update={
            "state": State.FAILING,
            "answer": "",
            "error": str(error)[:ERROR_MAX],
            "error_kind": error.kind,
            "definition_version": seen.definition_version,
            "failing_since": base.failing_since or now,
            "attempts": attempts,
            "next_attempt_at": again,
            "changed_at": now,
        }
    )


def _attempts(seen: RegistryDocuments) -> int:
    """Failures in a row for the back-off.

    A person's request adds none, and a changed definition starts at zero.
    """
    old = seen.entry
    if old is None or edited(old, seen.definition_version):
        return 1
    return max(1, old.attempts) if seen.wanted else old.attempts + 1


def _asks_to_wait(error: RegcredError) -> bool:
    return isinstance(error, TransientError) and error.retry_after is not None


def public(seen: RegistryDocuments, provider: str, *, now: datetime) -> IndexEntry:
    """The entry for a public registry. If it had a credential, that is no longer in use."""
    return IndexEntry(
        state=State.REMOVED if seen.newest_version else State.OK,
        version=seen.newest_version,
        provider=provider,
        definition_version=seen.definition_version,
        warning="it is public and needs no credential, so workloads need no annotation for it",
        next_attempt_at=now + LONGEST_WAIT[False] if seen.newest_version else None,
        changed_at=now,
    )


def revoked(seen: RegistryDocuments, note: str, again: TransientError | None, *, now: datetime) -> IndexEntry:
    """The entry after a revocation.

    Args:
        seen: The documents of the registry.
        note: What people must know about the result at the vendor.
        again: The error, if the vendor must be called again.
        now: The time.
    """
    base = seen.entry or IndexEntry(state=State.REVOKED, provider=seen.provider, changed_at=now)
    attempts = base.attempts + 1 if again and base.state is State.REVOKED else int(bool(again))
    return base.model_copy(
        update={
            "state": State.REVOKED,
            "version": seen.newest_version,
            "answer": "",
            "error": note,
            "error_kind": again.kind if again else "",
            "failing_since": None,
            "attempts": attempts,
            "next_attempt_at": again
            and next_attempt(again, attempts=attempts, reference=seen.reference, entry=None, now=now),
            "changed_at": now,
        }
    )


def removed(seen: RegistryDocuments, *, now: datetime) -> IndexEntry:
    """The entry after the removal of the definition."""
    base = seen.entry or IndexEntry(state=State.REMOVED, changed_at=now)
    return IndexEntry(
        state=State.REMOVED,
        version=seen.newest_version,
        fingerprint=base.fingerprint,
        provider=base.provider,
        hosts=base.hosts,
        changed_at=now,
    )


def refresh_ahead(record: CredentialRecord, *, now: datetime) -> CredentialRecord:
    """The record with a refresh time that is in the future.

    A vendor may return a token that it created earlier. If half of its life has passed, it is refreshed after
    half of the remaining life.
    """
    if record.expires_at is None or record.refresh_at is None or record.refresh_at > now:
        return record
    return record.model_copy(update={"refresh_at": now + (record.expires_at - now) / 2})
