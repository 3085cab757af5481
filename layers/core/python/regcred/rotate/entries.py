"""What the index tells of each outcome. Pure."""

from __future__ import annotations

from datetime import datetime

from regcred.errors import RegcredError, TransientError
from regcred.rotate.backoff import LONGEST_WAIT, next_attempt
from regcred.rotate.decide import UNTRIED, Judgement, Seen
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.index import IndexEntry, State
from regcred.work import edited

ERROR_MAX = 1000
"""Characters of an error that are kept: vendors' words are part of some."""


def in_force(
    record: CredentialRecord,
    *,
    version: int,
    definition_version: int,
    now: datetime,
    judgement: Judgement = UNTRIED,
) -> IndexEntry:
    """A credential is in force."""
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
    """What is known of the credential in force after it was tried once more."""
    return entry.model_copy(
        update={
            "verified": judgement.verified,
            "unverified": judgement.unverified[:ERROR_MAX],
            "warning": judgement.warning[:ERROR_MAX],
            "answer": "",
            "changed_at": now,
        }
    )


def failing(seen: Seen, error: RegcredError, *, now: datetime) -> IndexEntry:
    """The last attempt failed; what was in force stays so."""
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


def _attempts(seen: Seen) -> int:
    """Failures in a row for the back-off: what a person asks for adds none, and a changed definition begins anew."""
    old = seen.entry
    if old is None or edited(old, seen.definition_version):
        return 1
    return max(1, old.attempts) if seen.wanted else old.attempts + 1


def _asks_to_wait(error: RegcredError) -> bool:
    return isinstance(error, TransientError) and error.retry_after is not None


def public(seen: Seen, provider: str, *, now: datetime) -> IndexEntry:
    """Anybody can pull from it; a credential that was in force is no longer."""
    return IndexEntry(
        state=State.REMOVED if seen.told else State.OK,
        version=seen.told,
        provider=provider,
        definition_version=seen.definition_version,
        warning="it is public and needs no credential, so workloads need no annotation for it",
        next_attempt_at=now + LONGEST_WAIT[False] if seen.told else None,
        changed_at=now,
    )


def revoked(seen: Seen, note: str, again: TransientError | None, *, now: datetime) -> IndexEntry:
    """A credential was revoked on purpose.

    Args:
        seen: What was there.
        note: What people must know of how far it went.
        again: Why the vendor has to be asked again, if it has to.
        now: The time.
    """
    base = seen.entry or IndexEntry(state=State.REVOKED, provider=seen.provider, changed_at=now)
    attempts = base.attempts + 1 if again and base.state is State.REVOKED else int(bool(again))
    return base.model_copy(
        update={
            "state": State.REVOKED,
            "version": seen.told,
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


def removed(seen: Seen, *, now: datetime) -> IndexEntry:
    """The definition is gone."""
    base = seen.entry or IndexEntry(state=State.REMOVED, changed_at=now)
    return IndexEntry(
        state=State.REMOVED,
        version=seen.told,
        fingerprint=base.fingerprint,
        provider=base.provider,
        hosts=base.hosts,
        changed_at=now,
    )


def refresh_ahead(record: CredentialRecord, *, now: datetime) -> CredentialRecord:
    """A vendor may hand out a token it made before; then half of what is left decides, not a time gone by."""
    if record.expires_at is None or record.refresh_at is None or record.refresh_at > now:
        return record
    return record.model_copy(update={"refresh_at": now + (record.expires_at - now) / 2})
