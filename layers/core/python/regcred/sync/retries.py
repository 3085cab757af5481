"""When what failed is tried again, and how long nothing is asked because the API server wants a pause."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta

from regcred.cluster.interface import ThrottledError
from regcred.errors import RegcredError, TransientError
from regcred.reference import Reference
from regcred.sync.clock import Clock, jittered

SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(seconds=30)
"""The pause before another try doubles from the first to the second: whatever was in the way, it is noticed within that."""

RETRIES_PER_SECOND = 20.0
"""With so many failures that this is exceeded, all of them wait longer."""

Key = tuple[str, Reference | str]
"""What an action is about: a namespace and a reference, the name of a Pod, or what stands for a ServiceAccount."""


class Retries:
    """Remembers what waits for another try.

    Args:
        clock: Tells the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: dict[Key, datetime] = {}
        self._not_before: dict[Key, datetime] = {}
        """What a server said about when to ask again."""
        self._count: Counter[Key] = Counter()
        self._told: dict[Key, str] = {}
        self._writes: set[Key] = set()

    def __contains__(self, key: object) -> bool:
        """Whether this waits."""
        return key in self._at

    def blocks_removal(self, key: Key) -> bool:
        """Whether a removal has to wait, too: not for a write that failed."""
        return key in self._at and key not in self._writes

    def put_off(self, key: Key, span: timedelta) -> None:
        """Have something wait that has not failed."""
        self._at[key] = self._clock() + span

    def begin(self, key: Key) -> None:
        """Take note that something is tried, so that it no longer waits."""
        self._at.pop(key, None)

    def fail(self, key: Key, error: RegcredError, *, write: bool) -> bool:
        """Have a failed action wait; say whether its error differs from that of the try before.

        Args:
            key: What the action is about.
            error: Why it failed.
            write: Whether it was the writing of a Secret.
        """
        self._count[key] += 1
        (self._writes.add if write else self._writes.discard)(key)
        grown = SHORTEST * 2 ** min(self._count[key] - 1, 10)
        crowd = timedelta(seconds=len(self._at) / RETRIES_PER_SECOND)
        asked = error.retry_after if isinstance(error, TransientError) and error.retry_after else timedelta(0)
        now = self._clock()
        self._at[key] = now + max(jittered(max(min(grown, LONGEST), crowd)), asked)
        if asked:
            self._not_before[key] = now + asked
        news = self._told.get(key) != str(error)
        self._told[key] = str(error)
        return news

    def succeed(self, key: Key) -> None:
        """Forget the failures of an action."""
        self._writes.discard(key)
        for known in (self._count, self._told, self._not_before):
            known.pop(key, None)

    def failures(self, key: Key) -> int:
        """How often an action has failed in a row."""
        return self._count.get(key, 0)

    def hurry(self, namespaces: set[str]) -> None:
        """Try sooner what waits in namespaces where something has changed; not sooner than a server asked for."""
        now = self._clock()
        for key in [key for key in self._at if key[0] in namespaces and key in self._count]:
            self._at[key] = min(self._at[key], max(now + SHORTEST, self._not_before.get(key, now)))

    def due(self) -> set[str]:
        """The namespaces of what has waited long enough, which waits no longer."""
        now = self._clock()
        ready = [key for key, at in self._at.items() if at <= now]
        for key in ready:
            del self._at[key]
        return {namespace for namespace, _ in ready}

    def next(self) -> datetime | None:
        """When the first of those that wait may be tried again."""
        return min(self._at.values(), default=None)


class Pause:
    """Holds back all requests while the API server asks for a pause."""

    def __init__(self) -> None:
        self._until = 0.0

    def heed(self, error: RegcredError) -> None:
        """Begin a pause if the error asks for one."""
        if isinstance(error, ThrottledError) and error.retry_after:
            end = asyncio.get_running_loop().time() + error.retry_after.total_seconds()
            self._until = max(self._until, end)

    async def over(self) -> None:
        """Wait for the end of the pause."""
        while (rest := self._until - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110 - it may be extended
            await asyncio.sleep(rest)
