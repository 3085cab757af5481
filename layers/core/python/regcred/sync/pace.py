"""The intervals of sync's periodic work. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Pace:
    """The intervals of periodic work. Polls, reviews and lists are shortened at random by up to a fifth."""

    poll: timedelta = timedelta(seconds=30)
    """The poll of an index: one metadata read."""
    poll_soon: timedelta = timedelta(seconds=5)
    """The poll of an index while a new credential is expected. It is also the poll of the grants and of the
    signal that a credential was ended, so that grants and revocations take effect quickly."""
    review: timedelta = timedelta(minutes=1)
    """A plan for all namespaces. It needs no requests to find what is due."""
    relist: timedelta = timedelta(hours=1)
    """A list of each kind."""
    heartbeat: timedelta = timedelta(minutes=10)
    """A write of status documents without changes."""
    save: timedelta = timedelta(seconds=1)
    """A write of status documents with changes."""
    save_late: timedelta = timedelta(seconds=5)
    """A write of status documents with changes, while writes to the cluster continue."""
    repair: timedelta = timedelta(hours=6)
    """A repeated write of everything in place, to undo changes that others made."""
    repair_step: timedelta = timedelta(seconds=0.1)
    """The pause between two of these repeated writes."""
    first_lists: timedelta = timedelta(seconds=5)
    """How long the first pass waits for a kind that can't be listed. Without that kind, it removes
    nothing."""
