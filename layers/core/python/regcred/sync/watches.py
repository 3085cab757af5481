"""Keeps the inventory up to date: one list and one watch for each kind of object."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from regcred.cluster.interface import Change, ExpiredError
from regcred.cluster.model import NAMESPACE, SERVICE_ACCOUNT, Kind, Mode, Workload
from regcred.errors import MissingError, RegcredError, TransientError
from regcred.sync.engine import Engine
from regcred.sync.jitter import jittered
from regcred.sync.logging import log
from regcred.sync.pace import Pace
from regcred.sync.retries import watch_wait

SHORTEST_WATCH = 1.0
"""In seconds. A watch that ends sooner without an event has failed, even if it reports no error."""


class Watches:
    """Lists and watches every kind that the modes need. Each kind has its own task.

    Args:
        engine: Has the inventory, and is notified of every change.
        pace: The intervals.
        start: Starts a task that ends with the loop.
    """

    def __init__(
        self, engine: Engine, pace: Pace, *, start: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._engine = engine
        self._pace = pace
        self._start = start
        self._followed: set[Kind] = set()
        self._with_heartbeat: set[Kind] = set()

    def follow_all(self) -> None:
        """Start to watch each kind that is needed and not watched yet."""
        for kind in self._engine.kinds():
            if kind not in self._followed:
                self._followed.add(kind)
                self._start(self._follow(kind))

    def _labelled(self, kind: Kind) -> bool:
        """Whether a watch of labelled metadata is enough.

        Mode serviceaccount needs the pod template.
        """
        if kind in {NAMESPACE, SERVICE_ACCOUNT}:
            return False
        inventory = self._engine.inventory
        accounts = inventory.is_chosen(Mode.SERVICEACCOUNT) and inventory.accounts_known
        return self._engine.options.rules.mode is Mode.ADMISSION and not accounts

    async def _follow(self, kind: Kind) -> None:
        version = ""
        listed_at = self._engine.clock()
        failures = 0
        relist = jittered(self._pace.relist, 0.2)
        while True:
            try:
                await self._engine.pause.over()
                if not version or self._engine.clock() - listed_at > relist:
                    version = await self._engine.list_kind(kind)
                    listed_at = self._engine.clock()
                    self._start_heartbeat(kind)
                    if kind is NAMESPACE:
                        self.follow_all()
                labelled = self._labelled(kind)
                async for change in self._watch(kind, version, labelled=labelled):
                    version, failures = change.resource_version, 0
                    self._take(kind, change)
                    if labelled != self._labelled(kind):
                        version = ""
                        break
                failures = 0
            except RegcredError as error:
                failures += 1
                self._engine.pause.heed(error)
                if isinstance(error, ExpiredError):
                    version = ""
                elif failures > 1 or isinstance(error, MissingError):
                    version = ""
                    self._mark_stale(kind, error)
                await self._pause(kind, error, failures)

    async def _watch(self, kind: Kind, version: str, *, labelled: bool) -> AsyncIterator[Change]:
        started, received = time.monotonic(), False
        async for change in self._engine.cluster.watch(kind, version, labelled=labelled):
            received = True
            yield change
        if not received and time.monotonic() - started < SHORTEST_WATCH:
            raise TransientError(f"the watch of {kind.plural} ended immediately")

    def _mark_stale(self, kind: Kind, error: RegcredError) -> None:
        if not (kind.custom and isinstance(error, MissingError)):
            self._engine.inventory.mark_stale(kind)

    async def _pause(self, kind: Kind, error: RegcredError, failures: int) -> None:
        self._engine.meter.count("watch_failures_total", kind=kind.name, reason=error.kind)
        log(logging.WARNING, "a watch failed; it is retried", workload=kind.name, problem=str(error))
        await asyncio.sleep(watch_wait(failures, error).total_seconds())

    def _take(self, kind: Kind, change: Change) -> None:
        inventory = self._engine.inventory
        if change.item is not None:
            changed = inventory.put(change.item)
            self._engine.touch(changed)
            if changed and isinstance(change.item, Workload):
                self._engine.drift.note_workload(change.item)
            if kind is NAMESPACE:
                self.follow_all()
        elif change.name:
            self._engine.touch(inventory.drop(kind, change.namespace, change.name))
        self._record_heartbeat(kind)

    def _start_heartbeat(self, kind: Kind) -> None:
        """Start the metric of a kind. A watch that never sends anything then shows as silent."""
        if kind not in self._with_heartbeat:
            self._with_heartbeat.add(kind)
            self._record_heartbeat(kind)

    def _record_heartbeat(self, kind: Kind) -> None:
        self._engine.meter.set("watch_heartbeat_timestamp_seconds", time.time(), kind=kind.name)
