"""A queue in which namespaces take turns, so that a busy namespace delays no other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(asyncio.Queue[T], Generic[T]):
    """Returns the oldest item of each namespace in turn.

    Args:
        namespace_of: The namespace of an item.
        limit: The maximum number of waiting items of one namespace.
    """

    def __init__(self, namespace_of: Callable[[T], str], *, limit: int) -> None:
        self._namespace_of = namespace_of
        self._limit = limit
        self._rows: dict[str, deque[T]] = {}
        super().__init__()

    def add(self, item: T) -> bool:
        """Queue an item.

        Return whether it replaced the oldest of its namespace: the newest items show the current state.
        """
        row = self._rows.get(self._namespace_of(item))
        if row is None or len(row) < self._limit:
            self.put_nowait(item)
            return False
        row.popleft()
        row.append(item)
        return True

    def qsize(self) -> int:
        """How many items are waiting."""
        return sum(len(row) for row in self._rows.values())

    def empty(self) -> bool:
        """Whether the queue is empty."""
        return not self._rows

    # The methods that asyncio.Queue defines for its subclasses.

    def _put(self, item: T) -> None:
        self._rows.setdefault(self._namespace_of(item), deque()).append(item)

    def _get(self) -> T:
        namespace = next(iter(self._rows))
        row = self._rows.pop(namespace)
        item = row.popleft()
        if row:
            self._rows[namespace] = row
        return item
