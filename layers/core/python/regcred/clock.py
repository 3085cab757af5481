"""The current time, and the type of a clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the current time, timezone-aware and in UTC."""


def utc_now() -> datetime:
    """The current time, timezone-aware and in UTC."""
    return datetime.now(UTC)
