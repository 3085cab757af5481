"""The simulated time, and when somebody can't be reached in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 2, tzinfo=UTC)
SWEEP = timedelta(minutes=5)

Window = tuple[datetime, datetime]


@dataclass
class Clock:
    """The simulated time, as whoever runs now sees it."""

    time: datetime = START

    def __call__(self) -> datetime:
        return self.time


@dataclass
class Outages:
    """When somebody can't be reached."""

    windows: list[Window] = field(default_factory=list)

    def at(self, time: datetime) -> bool:
        return any(begin <= time < end for begin, end in self.windows)
