"""Pauses, and the jitter that spreads actions in time."""

from __future__ import annotations

import random
from datetime import timedelta

LONGEST_WAIT = timedelta(minutes=1)
"""The longest pause before something that failed is retried."""


def jittered(span: timedelta, share: float = 0.5) -> timedelta:
    """The duration, shortened at random by up to ``share`` of it."""
    return span * random.uniform(1 - share, 1)  # noqa: S311 - spreads load, guards nothing


def backoff(failures: int) -> timedelta:
    """The pause after a number of consecutive failures. It doubles with each, up to :data:`LONGEST_WAIT`."""
    return min(timedelta(seconds=0.1) * 2.0 ** min(failures, 12), LONGEST_WAIT)
