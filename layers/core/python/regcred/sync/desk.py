"""Where sync meets the outside beside the cluster: the clock, Vault's thread, and what is measured."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, Protocol, TypeVar

from regcred.errors import RegcredError

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


class Meter(Protocol):
    """Receives what sync measures; names are those of the metrics without the prefix ``regcred_``."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Add a duration to a histogram."""

    def replace(self, name: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        """Set all of a gauge's series; those that are not named end."""


class Unmeasured:
    """A :class:`Meter` that forgets."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Forget it."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Forget it."""

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Forget it."""

    def replace(self, name: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        """Forget it."""


class VaultThreads:
    """The few threads in which all blocking calls to Vault are made, so that one that hangs holds up no other.

    Args:
        meter: Counts and times the calls.
    """

    def __init__(self, meter: Meter) -> None:
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="vault")
        self._meter = meter

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call there and wait for its answer; raises what it raises."""
        started = time.monotonic()
        outcome = "ok"
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: call(*args, **kwargs)
            )
        except RegcredError as error:
            outcome = error.kind
            raise
        finally:
            self._meter.count("vault_requests_total", operation=call.__name__, outcome=outcome)
            self._meter.time("vault_request_seconds", time.monotonic() - started, operation=call.__name__)

    def close(self) -> None:
        """End the threads after the calls that they are in."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def log(level: int, message: str, **fields: Any) -> None:
    """Write one structured log line; ``fields`` must hold no secret."""
    LOG.log(level, message, extra={"fields": fields})
