"""The queue between dispatch and rotate, in memory."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bench.fleet.time import START, SWEEP, Clock
from regcred.dispatch import QueuedMessage

VISIBILITY = timedelta(minutes=6)
RECEIVES = 3
"""How often a message is delivered before it is a dead letter."""


@dataclass
class Queue:
    """SQS FIFO in memory, with lost and duplicate messages.

    The simulation keeps the order within a group, and delivers one message of a group at a time.
    """

    clock: Clock
    rng: random.Random
    lost: float
    """Share of messages that get lost."""
    doubled: float
    """Share of messages that are delivered twice."""
    waiting: dict[str, list[QueuedMessage]] = field(default_factory=lambda: defaultdict(list))
    seen: dict[str, datetime] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def send(self, messages: Sequence[QueuedMessage]) -> None:
        now = self.clock()
        for envelope in messages:
            self.counts["sent"] += 1
            if now - self.seen.get(envelope.deduplication_id, START - SWEEP) < timedelta(minutes=5):
                self.counts["deduplicated"] += 1
                continue
            self.seen[envelope.deduplication_id] = now
            if self.rng.random() < self.lost:
                self.counts["lost"] += 1
                continue
            self.waiting[envelope.group].append(envelope)
            if self.rng.random() < self.doubled:
                self.counts["doubled"] += 1
                self.waiting[envelope.group].append(envelope)
