"""Tasks that handle the items of a queue."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, Self, TypeVar

from regcred.log import describe_bug
from regcred.sync.logging import log

T = TypeVar("T")


class QueueWorkers(ABC, Generic[T]):
    """A queue, and the tasks that handle its items.

    An async context manager: the tasks run while it is open.

    Args:
        queue: The items.
        count: How many items are handled at the same time.
    """

    def __init__(self, queue: asyncio.Queue[T], count: int) -> None:
        self._queue = queue
        self._count = count
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._count)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def drain(self) -> None:
        """Wait until all queued items have been handled."""
        await self._queue.join()

    @abstractmethod
    async def _handle(self, item: T) -> None:
        """Handle one item."""

    async def _work(self) -> None:
        while True:
            item = await self._queue.get()
            try:
                await self._handle(item)
            except Exception as error:  # noqa: BLE001 - one item must not end a task, or drain would never return
                log(logging.ERROR, "an internal error; please report it", **describe_bug(error))
            finally:
                self._queue.task_done()
