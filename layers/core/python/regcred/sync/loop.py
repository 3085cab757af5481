"""The loop: watches of the cluster, polls of Vault, passes over changed namespaces, and periodic work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from typing import Any

from regcred.errors import RegcredError
from regcred.sync.engine import Engine
from regcred.sync.identity import WrongClusterError
from regcred.sync.jitter import LONGEST_WAIT, jittered
from regcred.sync.logging import log
from regcred.sync.pace import Pace
from regcred.sync.pass_scheduler import PassScheduler
from regcred.sync.vault_polls import Polls
from regcred.sync.watches import Watches

SHUTDOWN = 8.0
"""Seconds for work in progress at shutdown, and then again as many to write the ledger."""


class Loop:
    """Runs an engine until it is cancelled.

    Args:
        engine: The engine. The loop opens and closes it.
        pace: The intervals.
        changes: Vault's own events, if the server has them. Yields the path of each written document, and an
            empty path after each new connection, because changes may have been missed.
    """

    def __init__(
        self, engine: Engine, pace: Pace, *, changes: Callable[[], AsyncIterator[str]] | None = None
    ) -> None:
        self._engine = engine
        self._pace = pace
        self._changes = changes
        self._loaded = asyncio.Event()
        self._watches = Watches(engine, pace, start=self._start)
        self._scheduler = PassScheduler(engine, pace)
        cluster = engine.options.rules.cluster
        self._polls = Polls(engine.sources, engine.clock, pace, cluster, changed=self._scheduler.review_now)

    @property
    def ready(self) -> bool:
        """Whether the ledger and all objects have been read."""
        return self._loaded.is_set() and self._engine.inventory.complete

    @property
    def alive(self) -> bool:
        """Whether passes run. While sync waits for Vault at its start, it is alive as well."""
        return self._scheduler.alive

    async def run(self) -> None:
        """Run until cancelled. Then finish the work in progress and write the ledger.

        Raises:
            WrongClusterError: the name belongs to another cluster.
        """
        try:
            await self._run()
        except* WrongClusterError as group:
            raise _first(group) from None

    async def _run(self) -> None:
        async with self._engine:
            try:
                async with asyncio.TaskGroup() as tasks:
                    self._tasks = tasks
                    self._start(self._load())
                    self._watches.follow_all()
                    self._start(self._when_loaded(lambda: self._scheduler.run(then=self._polls.start_new)))
                    self._start(self._when_loaded(self._polls.run))
                    self._start(self._when_loaded(self._save))
                    self._start(self._repair())
                    self._start(self._tidy())
                    self._start(self._when_loaded(self._engine.drift.follow))
                    if changes := self._changes:
                        self._start(self._when_loaded(lambda: self._polls.listen(changes())))
            finally:
                await self._finish()

    def _start(self, task: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(task)

    async def _when_loaded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await self._loaded.wait()
        await work()

    async def _finish(self) -> None:
        for finish in (self._engine.execution.drain, self._engine.ledger.save):
            try:
                async with asyncio.timeout(SHUTDOWN):
                    await finish()
            except TimeoutError:
                log(logging.WARNING, "sync stopped before it had written everything; the next start does")

    async def _load(self) -> None:
        wait = timedelta(seconds=1)
        while True:
            try:
                await self._engine.load()
                break
            except WrongClusterError:
                raise
            except RegcredError as error:
                log(logging.ERROR, "Vault can't be read; sync does nothing until it can", problem=str(error))
                self._scheduler.beat()
            await asyncio.sleep(jittered(wait).total_seconds())
            wait = min(wait * 2, LONGEST_WAIT)
        self._loaded.set()
        self._engine.awake.set()

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(self._pace.relist.total_seconds())
            self._engine.events.tidy(self._engine.inventory)
            self._engine.drift.tidy()

    async def _repair(self) -> None:
        """Slowly write everything in place again.

        The first time is long after the start, so that a restart without changes writes nothing.
        """
        while True:
            await asyncio.sleep(jittered(self._pace.repair, 0.2).total_seconds())
            for action in self._engine.repairs():
                self._engine.execution.repair(action)
                await asyncio.sleep(self._pace.repair_step.total_seconds())

    async def _save(self) -> None:
        engine = self._engine
        waited = timedelta(0)
        pause = self._pace.save
        while True:
            await asyncio.sleep(pause.total_seconds())
            now = engine.clock()
            written = engine.ledger.written_at.items()
            engine.ledger.touch(project for project, at in written if now - at > self._pace.heartbeat)
            waited += pause
            if engine.ledger.dirty and (engine.applier.idle or waited >= self._pace.save_late):
                pause = self._pace.save if await engine.ledger.save() else self._pace.save * 10
                waited = timedelta(0)


def _first(group: BaseExceptionGroup[WrongClusterError]) -> WrongClusterError:
    """The single error in the error group of a task group."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
