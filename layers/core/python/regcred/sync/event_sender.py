"""Writes Events for the owners of workloads, with fairness among namespaces and a rate limit."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

from regcred.cluster.interface import Cluster, Message
from regcred.errors import RegcredError, TransientError
from regcred.sync.actions import EmitEvent
from regcred.sync.earlier_events import EarlierEvents
from regcred.sync.fair_queue import FairQueue
from regcred.sync.jitter import jittered
from regcred.sync.logging import log
from regcred.sync.messages import NORMAL_REASONS, Reason
from regcred.sync.metrics import Meter
from regcred.sync.queue_workers import QueueWorkers
from regcred.sync.retries import LONGEST, Pause

SENDERS = 2
"""How many Events are written at the same time."""

EVENTS_PER_SECOND = 20.0
"""How many Events are written a second after a burst. Events are for people, so more have no use."""
EVENTS_BURST = 100
"""How many Events are written without this limit after a quiet time."""
EVENTS_WAITING = 200
"""How many Events of one namespace wait. A newer Event replaces the oldest one."""
TRIES = 6
"""How often an Event is tried. The pause between tries grows to half a minute."""


@dataclass(frozen=True, slots=True)
class _QueuedEvent:
    event: EmitEvent
    tries: int = 0


class EventSender(QueueWorkers[_QueuedEvent]):
    """A queue of Events, and the tasks that write them.

    Args:
        cluster: The cluster's API.
        meter: Counts Events.
        pause: Awaited before each request.
    """

    def __init__(self, cluster: Cluster, meter: Meter, pause: Pause) -> None:
        self._waiting: FairQueue[_QueuedEvent] = FairQueue(
            lambda queued: queued.event.about.namespace, limit=EVENTS_WAITING
        )
        super().__init__(self._waiting, SENDERS)
        self._cluster = cluster
        self._meter = meter
        self._pause = pause
        self._earlier = EarlierEvents(cluster, Reason.NOT_GRANTED)
        self._allowance = float(EVENTS_BURST)
        self._allowed_at = 0.0
        self.sent = 0
        """How many Events were written."""

    def add(self, event: EmitEvent) -> None:
        """Queue an Event."""
        self._add(_QueuedEvent(event))

    async def _handle(self, item: _QueuedEvent) -> None:
        await self._pause.over()
        if await self._applies(item):
            await self._await_allowance()
            await self._pause.over()
            await self._send(item)

    def _add(self, queued: _QueuedEvent) -> None:
        if self._waiting.add(queued):
            self._meter.count("events_dropped_total")

    async def _applies(self, queued: _QueuedEvent) -> bool:
        """Whether to write an Event. If that is unknown, return False and queue the Event again."""
        event = queued.event
        if not event.corrects:
            return True
        try:
            return (
                Message(event.about, Reason.NOT_GRANTED, event.corrects).name in await self._earlier.names()
            )
        except TransientError as error:
            self._pause.heed(error)
            if queued.tries + 1 < TRIES:
                self._try_later(queued, error)
        return False

    async def _send(self, queued: _QueuedEvent) -> None:
        event = queued.event
        warning = event.reason not in NORMAL_REASONS
        message = Message(event.about, event.reason, event.note, warning=warning, again=event.again)
        try:
            if await self._cluster.create_event(message):
                self.sent += 1
                self._meter.count("events_total", reason=event.reason)
            return
        except TransientError as error:
            self._pause.heed(error)
            if queued.tries + 1 < TRIES:
                self._try_later(queued, error)
                return
            problem = str(error)
        except RegcredError as error:
            problem = str(error)
        log(logging.WARNING, "an Event could not be written", about=str(event.about), problem=problem)

    def _try_later(self, queued: _QueuedEvent, error: TransientError) -> None:
        wait = jittered(min(timedelta(seconds=0.2) * 4**queued.tries, LONGEST))
        wait = max(wait, error.retry_after or wait)
        again = _QueuedEvent(queued.event, queued.tries + 1)
        asyncio.get_running_loop().call_later(wait.total_seconds(), self._add, again)

    async def _await_allowance(self) -> None:
        now = asyncio.get_running_loop().time()
        earned = (now - self._allowed_at) * EVENTS_PER_SECOND
        self._allowance = min(EVENTS_BURST, self._allowance + earned) - 1
        self._allowed_at = now
        if self._allowance < 0:
            await asyncio.sleep(-self._allowance / EVENTS_PER_SECOND)
