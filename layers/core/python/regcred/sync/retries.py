"""Decides when a failed action is retried, and pauses all requests when the API server requires it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from regcred.clock import Clock
from regcred.cluster.interface import ThrottledError
from regcred.errors import RegcredError, TransientError
from regcred.sync.actions import Key
from regcred.sync.jitter import backoff, jittered

SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(seconds=30)
"""The first and the longest pause before a retry. The pause doubles after each failure."""

RETRIES_PER_SECOND = 20.0
"""If more actions than this wait for each second, all of them wait longer."""


class Retries:
    """Remembers what waits for a retry.

    Args:
        clock: Returns the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: dict[Key, datetime] = {}
        self._count: Counter[Key] = Counter()
        self._last_errors: dict[Key, str] = {}
        self._harmless: set[Key] = set()
        """Failed actions that don't delay a removal."""

    def __contains__(self, key: object) -> bool:
        """Whether an action waits for a retry."""
        return key in self._at

    @property
    def waiting(self) -> AbstractSet[Key]:
        """The actions that wait for a retry."""
        return self._at.keys()

    @property
    def delaying_removal(self) -> AbstractSet[Key]:
        """The actions that wait for a retry, and whose Secret must stay until then."""
        return self._at.keys() - self._harmless

    def put_off(self, key: Key, span: timedelta) -> None:
        """Delay an action that has not failed."""
        self._at[key] = self._clock() + span

    def begin(self, key: Key) -> None:
        """Record that an action is being tried, so that it no longer waits."""
        self._at.pop(key, None)

    def fail(self, key: Key, error: RegcredError, *, delays_removal: bool) -> bool:
        """Delay a failed action. Return whether its error differs from that of the previous try.

        Args:
            key: The key of the action.
            error: Why it failed.
            delays_removal: Whether a Secret must stay while the action waits.
        """
        self._count[key] += 1
        (self._harmless.discard if delays_removal else self._harmless.add)(key)
        grown = SHORTEST * 2 ** min(self._count[key] - 1, 10)
        crowd = timedelta(seconds=len(self._at) / RETRIES_PER_SECOND)
        retry_after = (
            error.retry_after if isinstance(error, TransientError) and error.retry_after else timedelta(0)
        )
        now = self._clock()
        self._at[key] = now + max(jittered(max(min(grown, LONGEST), crowd)), retry_after)
        is_new = self._last_errors.get(key) != str(error)
        self._last_errors[key] = str(error)
        return is_new

    def succeed(self, key: Key) -> None:
        """Forget the failures of an action."""
        self._harmless.discard(key)
        for known in (self._count, self._last_errors):
            known.pop(key, None)

    def failures(self, key: Key) -> int:
        """The number of consecutive failures of an action."""
        return self._count.get(key, 0)

    def due(self) -> set[str]:
        """Remove and return the namespaces whose wait is over."""
        now = self._clock()
        ready = [key for key, at in self._at.items() if at <= now]
        for key in ready:
            del self._at[key]
        return {namespace for namespace, _ in ready}

    def next(self) -> datetime | None:
        """When the first waiting action may be retried."""
        return min(self._at.values(), default=None)


def watch_wait(failures: int, error: RegcredError) -> timedelta:
    """How long to wait before a failed list or watch is retried.

    The pause doubles with each failure. It is added to the time that the server requires, so that refused
    watches do not return all at once.

    Args:
        failures: The number of consecutive failures, including this one.
        error: The last failure.
    """
    retry_after = error.retry_after if isinstance(error, TransientError) else None
    return jittered(backoff(failures)) + (retry_after or timedelta(0))


class Pause:
    """Delays all requests during a pause that the API server requires."""

    def __init__(self) -> None:
        self._until = 0.0

    def heed(self, error: RegcredError) -> None:
        """Begin a pause if the error requires one."""
        if isinstance(error, ThrottledError) and error.retry_after:
            end = asyncio.get_running_loop().time() + error.retry_after.total_seconds()
            self._until = max(self._until, end)

    async def over(self) -> None:
        """Wait for the end of the pause."""
        while (rest := self._until - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110 - it may be extended
            await asyncio.sleep(rest)
