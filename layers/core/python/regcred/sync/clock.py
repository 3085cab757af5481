"""The clock of sync, and jitter."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Tells the time: aware, UTC."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def jittered(span: timedelta, share: float = 0.5) -> timedelta:
    """A span shortened at random by up to a share of it, so that many don't act at once."""
    return span * random.uniform(1 - share, 1)  # noqa: S311 - spreads load, guards nothing
