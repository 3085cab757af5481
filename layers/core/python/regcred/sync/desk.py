"""Where sync meets the outside beside the cluster: the clock, Vault's thread, and what is measured."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LOG = logging.getLogger("regcred.sync")

Clock = Callable[[], datetime]
"""Tells the time: aware, UTC."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def jittered(span: timedelta, share: float = 0.5) -> timedelta:
    """A span shortened at random by up to a share of it, so that many don't act at once."""
    return span * random.uniform(1 - share, 1)  # noqa: S311 - spreads load, guards nothing


class VaultThreads:
    """The few threads in which all blocking calls to Vault are made, so that one that hangs holds up no other."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="vault")

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call there and wait for its answer; raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*args, **kwargs))

    def close(self) -> None:
        """End the threads after the calls that they are in."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Meter(Protocol):
    """Receives what sync measures; names are those of the metrics without the prefix ``regcred_``."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Add a duration to a histogram."""


class Unmeasured:
    """A :class:`Meter` that forgets."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Forget it."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Forget it."""

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Forget it."""


def log(level: int, message: str, **fields: Any) -> None:
    """Write one structured log line; ``fields`` must hold no secret."""
    LOG.log(level, message, extra={"fields": fields})
