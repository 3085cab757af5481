"""Charts as numbers: the position and height of each bar. The templates draw them as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from regcred.console.health import Hour
from regcred.vault.records.history import Attempt
from regcred.wording import duration

HEIGHT = 60
"""The height of a chart in its own units."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart."""

    at: datetime
    x: int
    height: int
    risk: int
    """The height of the bottom part that is at risk."""
    count: int
    at_risk: int


def bars(hours: Sequence[Hour]) -> list[Bar]:
    """A bar for each hour. The highest one has the height of the chart."""
    most = max((hour.count for hour in hours), default=0) or 1
    return [
        Bar(
            at=hour.start,
            x=place,
            height=_share(hour.count, most),
            risk=_share(hour.at_risk, most),
            count=hour.count,
            at_risk=hour.at_risk,
        )
        for place, hour in enumerate(hours)
    ]


def _share(count: int, most: int) -> int:
    """The height for a share, with a minimum so that it is visible."""
    return max(4, round(HEIGHT * count / most)) if count else 0


@dataclass(frozen=True, slots=True)
class ChartedAttempt:
    """One attempt of a registry's history, for display."""

    at: datetime
    word: str
    version: int
    took: str
    milliseconds: int
    failed: bool
    error_kind: str


@dataclass(frozen=True, slots=True)
class OutcomeBar:
    """One bar of the history's chart."""

    outcome: ChartedAttempt
    x: int
    height: int


_SECOND = 1000
_STEP = 6


def outcome(attempt: Attempt) -> ChartedAttempt:
    """Convert an attempt for display."""
    took = attempt.milliseconds
    return ChartedAttempt(
        at=attempt.at,
        word=attempt.outcome,
        version=attempt.version,
        took=f"{took} ms" if took < _SECOND else duration(timedelta(milliseconds=took)),
        milliseconds=took,
        failed=attempt.outcome == "failing" or bool(attempt.error_kind),
        error_kind=attempt.error_kind,
    )


def outcomes(newest_first: Sequence[ChartedAttempt]) -> list[OutcomeBar]:
    """A bar for each outcome, the oldest at the left. Its height is the duration."""
    most = max((one.milliseconds for one in newest_first), default=0) or 1
    return [
        OutcomeBar(one, place * _STEP, max(6, round(54 * one.milliseconds / most)))
        for place, one in enumerate(reversed(newest_first))
    ]
