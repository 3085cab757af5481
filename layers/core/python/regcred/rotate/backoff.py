"""Decides when a failing registry is tried again. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from regcred.credential import jitter
from regcred.errors import RegcredError, TransientError
from regcred.registry_reference import Reference
from regcred.vault.records.index import IndexEntry

FIRST_WAIT = {True: timedelta(minutes=1), False: timedelta(minutes=10)}
"""The wait after a first failure: for a transient one (True), and for one that a person must fix (False)."""

LONGEST_WAIT = {True: timedelta(minutes=30), False: timedelta(hours=6)}
"""The maximum wait. Waits double with each failure."""

LONGEST_RETRY_AFTER = timedelta(hours=24)
"""The maximum Retry-After that is respected."""

WAIT_JITTER = 0.2
"""The largest share by which jitter shortens a wait. It spreads the retries after an outage."""


def next_attempt(
    error: RegcredError, *, attempts: int, reference: Reference, entry: IndexEntry | None, now: datetime
) -> datetime:
    """The time of the next attempt of a failing registry.

    The wait doubles with each failure up to a maximum, and is shortened by a jitter derived from the
    reference. If the credential's life is known, no wait is longer than a sixteenth of it, or an eighth if a
    person must fix the cause. So if a vendor works again for the last quarter of the life, an attempt reaches
    it in time, even with sweeps every five minutes and a lost message. A vendor's Retry-After takes
    precedence.

    Args:
        error: The failure. Transient ones are retried sooner.
        attempts: Failures in a row, this one included.
        reference: The registry.
        entry: Its entry in the index, for the life of its last good credential.
        now: The time of the failure.
    """
    transient = isinstance(error, TransientError)
    doubled: int = 2 ** min(attempts - 1, 16)
    wait = min(FIRST_WAIT[transient] * doubled, LONGEST_WAIT[transient])
    if entry and entry.expires_at and entry.refresh_at:
        wait = min(wait, (entry.expires_at - entry.refresh_at) / (8 if transient else 4))
    wait -= jitter(f"{reference}#{attempts}", wait * WAIT_JITTER)
    retry_after = error.retry_after if isinstance(error, TransientError) else None
    if retry_after:
        retry_after = min(retry_after, LONGEST_RETRY_AFTER)
        wait = max(wait, retry_after + jitter(f"{reference}#{attempts}", retry_after * WAIT_JITTER))
    return now + wait
