"""Writes Events for the owners of workloads, with fairness among namespaces and a rate limit."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from regcred.cluster.interface import Cluster, Message
from regcred.errors import RegcredError, TransientError
from regcred.sync.actions import EmitEvent
from regcred.sync.earlier_events import EarlierEvents
from regcred.sync.fair_queue import FairQueue
from regcred.sync.jitter import jittered
from regcred.sync.logging import log
from regcred.sync.messages import NORMAL_REASONS, Reason
from regcred.sync.metrics import Meter
from regcred.sync.retries import LONGEST, Pause

SENDERS = 2
"""How many Events are written at the same time."""

EVENTS_PER_SECOND = 20.0
"""Events are for people, so at most this many a second are written after a burst."""
EVENTS_BURST = 100
EVENTS_WAITING = 200
"""The limit for each namespace. A newer Event replaces the oldest one."""
TRIES = 6
"""How often an Event is tried. The pause between tries grows to half a minute."""


@dataclass(frozen=True, slots=True)
class _QueuedEvent:
    event: EmitEvent
    tries: int = 0


class EventSender:
    """A queue of Events, and the tasks that write them.

    An async context manager: the tasks run while it is open.

    Args:
        cluster: Where to write.
        meter: Counts.
        pause: Awaited before each request.
    """

    def __init__(self, cluster: Cluster, meter: Meter, pause: Pause) -> None:
        self._cluster = cluster
        self._meter = meter
        self._pause = pause
        self._queue: FairQueue[_QueuedEvent] = FairQueue(
            lambda waiting: waiting.event.about.namespace, limit=EVENTS_WAITING
        )
        self._earlier = EarlierEvents(cluster, Reason.NOT_GRANTED)
        self._allowance = float(EVENTS_BURST)
        self._allowed_at = 0.0
        self.sent = 0
        """How many Events were written."""
        self._workers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._workers = [asyncio.create_task(self._work()) for _ in range(SENDERS)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def add(self, event: EmitEvent) -> None:
        """Queue an Event."""
        self._add(_QueuedEvent(event))

    async def drain(self) -> None:
        """Wait until every queued Event has been tried."""
        await self._queue.join()

    async def _work(self) -> None:
        while True:
            waiting = await self._queue.get()
            try:
                await self._pause.over()
                if await self._applies(waiting):
                    await self._await_allowance()
                    await self._pause.over()
                    await self._send(waiting)
            finally:
                self._queue.task_done()

    def _add(self, waiting: _QueuedEvent) -> None:
        if self._queue.add(waiting):
            self._meter.count("events_dropped_total")

    async def _applies(self, waiting: _QueuedEvent) -> bool:
        """Whether to write an Event. If that can't be known yet, it is queued again."""
        event = waiting.event
        if not event.corrects:
            return True
        try:
            return (
                Message(event.about, Reason.NOT_GRANTED, event.corrects).name in await self._earlier.names()
            )
        except TransientError as error:
            self._pause.heed(error)
            if waiting.tries + 1 < TRIES:
                self._try_later(waiting, error)
        return False

    async def _send(self, waiting: _QueuedEvent) -> None:
        event = waiting.event
        warning = event.reason not in NORMAL_REASONS
        message = Message(event.about, event.reason, event.note, warning=warning, again=event.again)
        try:
            if await self._cluster.create_event(message):
                self.sent += 1
                self._meter.count("events_total", reason=event.reason)
            return
        except TransientError as error:
            self._pause.heed(error)
            if waiting.tries + 1 < TRIES:
                self._try_later(waiting, error)
                return
            problem = str(error)
        except RegcredError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - an unexpected failure of one Event must not end the task
            problem = f"an internal error ({type(error).__name__}); please report it"
        log(logging.WARNING, "an Event could not be written", about=str(event.about), problem=problem)

    def _try_later(self, waiting: _QueuedEvent, error: TransientError) -> None:
        wait = jittered(min(timedelta(seconds=0.2) * 4**waiting.tries, LONGEST))
        wait = max(wait, error.retry_after or wait)
        again = _QueuedEvent(waiting.event, waiting.tries + 1)
        asyncio.get_running_loop().call_later(wait.total_seconds(), self._add, again)

    async def _await_allowance(self) -> None:
        now = asyncio.get_running_loop().time()
        earned = (now - self._allowed_at) * EVENTS_PER_SECOND
        self._allowance = min(EVENTS_BURST, self._allowance + earned) - 1
        self._allowed_at = now
        if self._allowance < 0:
            await asyncio.sleep(-self._allowance / EVENTS_PER_SECOND)
