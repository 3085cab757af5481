"""Carries out a plan's actions concurrently. Actions that Pods may be waiting for go first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

from regcred.errors import MissingError, RegcredError, TransientError
from regcred.sync.actions import ClusterAction, Key
from regcred.sync.jitter import jittered
from regcred.sync.logging import log
from regcred.sync.metrics import Meter
from regcred.sync.queue_workers import QueueWorkers
from regcred.sync.report import Report
from regcred.sync.retries import Pause, Retries

CONCURRENCY = 16
"""Concurrent writes. More would gain nothing: the API server is the limit, and urgent writes would queue
there."""

TRIES = 3
"""How often a write is tried before sync plans it again later."""
AGAIN = timedelta(seconds=0.2)
"""The first pause between these tries. It doubles."""
AT_ONCE = timedelta(seconds=5)
"""If the pause would be longer than this, sync plans the write again later, and continues other work."""

A_contra = TypeVar("A_contra", contravariant=True)


class Handler(Protocol[A_contra]):
    """Carries out the actions of one type."""

    async def do(self, action: A_contra) -> None:
        """Carry out an action. May be called again after a :class:`TransientError`.

        Raises:
            MissingError: the object no longer exists. The action counts as done.
            RegcredError: the action failed.
        """

    def succeed(self, action: A_contra) -> None:
        """Do what follows from a success."""

    def fail(self, action: A_contra, error: RegcredError, failures: int) -> None:
        """Do what follows from a failure.

        Args:
            action: The action that failed.
            error: Why it failed.
            failures: How many times in succession it has failed.
        """


@dataclass(order=True, slots=True)
class _Job:
    rank: int
    number: int
    action: ClusterAction = field(compare=False)


class Applier(QueueWorkers[_Job]):
    """Runs actions by rank.

    Args:
        handlers: The handler of each type of action.
        retries: Remembers failed actions.
        pause: Awaited before each request.
        meter: Counts failures.
        report: Lists the failures.
        touch: Marks the namespace of a failed action to be checked again.
        concurrency: How many actions run at the same time.
    """

    def __init__(
        self,
        handlers: Mapping[type[ClusterAction], Handler[Any]],
        retries: Retries,
        pause: Pause,
        meter: Meter,
        report: Report,
        *,
        touch: Callable[[Iterable[str]], None],
        concurrency: int = CONCURRENCY,
    ) -> None:
        super().__init__(asyncio.PriorityQueue[_Job](), concurrency)
        self._handlers = handlers
        self._retries = retries
        self._pause = pause
        self._meter = meter
        self._report = report
        self._touch = touch
        self._number = 0
        self._in_flight: set[Key] = set()
        self._finished = asyncio.Event()
        """Set, and replaced, when an action ends."""

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or in progress."""
        return not self._in_flight and self._queue.empty()

    @property
    def busy(self) -> frozenset[Key]:
        """The actions that are in progress or wait for a retry. A plan does not repeat them."""
        return frozenset(self._in_flight | self._retries.waiting)

    @property
    def blocked_removals(self) -> frozenset[Key]:
        """The Secrets whose removal must wait: a write is in progress, or the last removal failed."""
        return frozenset(self._in_flight | self._retries.delaying_removal)

    def __contains__(self, key: object) -> bool:
        """Whether an action is in progress or waits for a retry."""
        return key in self._in_flight or key in self._retries

    def reserve(self, actions: Iterable[ClusterAction]) -> None:
        """Mark actions as in progress before they are queued."""
        for action in actions:
            self._in_flight.add(action.key)
            self._retries.begin(action.key)

    def submit(self, actions: Iterable[ClusterAction]) -> None:
        """Queue actions. None may be in progress, unless :meth:`reserve` has marked it."""
        for action in actions:
            self._number += 1
            self._queue.put_nowait(_Job(action.rank, self._number, action))
            self.reserve([action])

    async def wait_for(self, actions: Iterable[ClusterAction]) -> None:
        """Wait until these actions have ended, whether they succeeded or failed."""
        keys = {action.key for action in actions}
        while keys & self._in_flight:
            await self._finished.wait()

    async def _handle(self, item: _Job) -> None:
        action = item.action
        handler = self._handlers[type(action)]
        error: RegcredError | None = None
        try:
            await self._try(partial(handler.do, action))
        except MissingError:
            pass
        except RegcredError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - an unexpected failure is retried like an expected one
            error = RegcredError(f"an internal error ({type(failure).__name__}); please report it")
        self._in_flight.discard(action.key)
        self._finished.set()
        self._finished = asyncio.Event()
        if error is None:
            self._retries.succeed(action.key)
            handler.succeed(action)
        else:
            self._fail(action, error, handler)

    async def _try(self, do: Callable[[], Awaitable[None]]) -> None:
        for attempt in range(1, TRIES + 1):
            await self._pause.over()
            try:
                await do()
            except TransientError as error:
                self._pause.heed(error)
                wait = max(error.retry_after or AGAIN, AGAIN) * 2 ** (attempt - 1)
                if attempt == TRIES or wait > AT_ONCE:
                    raise
                await asyncio.sleep(jittered(wait, 0.2).total_seconds())
            else:
                return

    def _fail(self, action: ClusterAction, error: RegcredError, handler: Handler[Any]) -> None:
        is_new = self._retries.fail(action.key, error, delays_removal=action.delays_removal)
        self._report.add_failure(f"{action.verb} {action.target}: {error}")
        self._meter.count("writes_failed_total", kind=error.kind)
        if is_new:
            log(logging.WARNING, "a write failed", action=str(action), problem=str(error), kind=error.kind)
        handler.fail(action, error, self._retries.failures(action.key))
        self._touch((action.namespace,))
