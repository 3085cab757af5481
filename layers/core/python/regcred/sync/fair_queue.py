"""A queue in which namespaces take turns, so that one that has much to say delays no other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(asyncio.Queue[T], Generic[T]):
    """Hands out the oldest item of one namespace after the other.

    Args:
        namespace_of: The namespace of an item.
        limit: How many items of one namespace wait at most.
    """

    def __init__(self, namespace_of: Callable[[T], str], *, limit: int) -> None:
        self._namespace_of = namespace_of
        self._limit = limit
        self._rows: dict[str, deque[T]] = {}
        super().__init__()

    def add(self, item: T) -> bool:
        """Queue an item; say whether the oldest of its namespace had to give way, since the newest tell how things stand."""
        row = self._rows.get(self._namespace_of(item))
        if row is None or len(row) < self._limit:
            self.put_nowait(item)
            return False
        row.popleft()
        row.append(item)
        return True

    def qsize(self) -> int:
        """How many items wait."""
        return sum(len(row) for row in self._rows.values())

    def empty(self) -> bool:
        """Whether none does."""
        return not self._rows

    # What asyncio.Queue has for its subclasses to say how items are kept.

    def _put(self, item: T) -> None:
        self._rows.setdefault(self._namespace_of(item), deque()).append(item)

    def _get(self) -> T:
        namespace = next(iter(self._rows))
        row = self._rows.pop(namespace)
        item = row.popleft()
        if row:
            self._rows[namespace] = row
        return item
