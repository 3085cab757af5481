"""The simulated time, and outages in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 2, tzinfo=UTC)
SWEEP = timedelta(minutes=5)

Window = tuple[datetime, datetime]


@dataclass
class Clock:
    """The simulated time as the running code sees it."""

    time: datetime = START

    def __call__(self) -> datetime:
        return self.time


@dataclass
class Outages:
    """The windows of time in which a vendor or Vault is unreachable."""

    windows: list[Window] = field(default_factory=list)

    def at(self, time: datetime) -> bool:
        return any(begin <= time < end for begin, end in self.windows)
