"""The loop: a watch for each kind, polls of Vault, passes over what changed, and periodic full passes and lists."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from regcred.cluster.interface import Change, ExpiredError
from regcred.cluster.model import NAMESPACE, SERVICE_ACCOUNT, Kind, Mode, Workload
from regcred.errors import MissingError, RegcredError, TransientError
from regcred.sync.actions import UpdateLedger
from regcred.sync.clock import jittered
from regcred.sync.engine import Engine
from regcred.sync.identity import WrongClusterError
from regcred.sync.logging import log

GRANTS = ""
"""The key of the grants among the polled documents."""

SIGNAL = "*"
"""The key of the signal that a credential was ended."""

SOON_AFTER = timedelta(minutes=15)
"""For how long after its refresh time a credential is polled more often. Dispatch runs every few minutes."""

SHORTEST_WATCH = 1.0
"""Seconds. A watch that ends sooner without a message has failed, even if it reports no error."""

LONGEST_WAIT = timedelta(minutes=1)
"""The longest pause before a failed watch is retried."""

LOOK = timedelta(seconds=0.02)
"""How often to check whether the first lists are complete."""

SHUTDOWN = 8.0
"""Seconds that work in progress gets at shutdown, and then as many for the ledger."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The intervals of periodic work. Polls, reviews and lists are shortened at random by up to a fifth."""

    poll: timedelta = timedelta(seconds=30)
    """The poll of an index: one metadata read."""
    poll_soon: timedelta = timedelta(seconds=5)
    """The poll of an index while a new credential is expected. It is also the poll of the grants and of the signal that a
    credential was ended, so that grants and revocations take effect quickly."""
    review: timedelta = timedelta(minutes=1)
    """A plan for all namespaces. It sends no request; it finds times that have passed."""
    relist: timedelta = timedelta(hours=1)
    """A list of each kind."""
    heartbeat: timedelta = timedelta(minutes=10)
    """A write of status documents without changes."""
    save: timedelta = timedelta(seconds=1)
    """A write of status documents with changes."""
    save_late: timedelta = timedelta(seconds=5)
    """A write of status documents with changes, while writes to the cluster continue."""
    repair: timedelta = timedelta(hours=6)
    """A repeated write of everything in place, to undo changes that others made."""
    repair_step: timedelta = timedelta(seconds=0.1)
    """The pause between two of these repeated writes."""
    first_lists: timedelta = timedelta(seconds=5)
    """How long the first pass waits for a kind that can't be listed. Without that kind, it removes nothing."""


class Loop:
    """Runs an engine until it is cancelled.

    Args:
        engine: The engine. The loop opens and closes it.
        pace: The intervals.
        changes: Vault's own events, if the server has them. Yields the path of each written document, and an empty path after
            each new connection, because changes may have been missed.
    """

    def __init__(
        self, engine: Engine, pace: Pace, *, changes: Callable[[], AsyncIterator[str]] | None = None
    ) -> None:
        self._engine = engine
        self._pace = pace
        self._changes = changes
        self._loaded = asyncio.Event()
        self._review_at = engine.clock()
        self._poll_at: dict[str, datetime] = {}
        self._poll_now = asyncio.Event()
        self._followed: set[Kind] = set()
        self._beating: set[Kind] = set()
        self._passed_at = time.monotonic()

    @property
    def ready(self) -> bool:
        """Whether the ledger and every kind have been read."""
        return self._loaded.is_set() and self._engine.inventory.complete

    @property
    def alive(self) -> bool:
        """Whether passes are running (at least one in a generous review interval), or sync waits for Vault at the start."""
        return time.monotonic() - self._passed_at < 5 * self._pace.review.total_seconds() + 60

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
                    self._follow_all()
                    self._start(self._pass())
                    self._start(self._poll())
                    self._start(self._save())
                    self._start(self._repair())
                    self._start(self._tidy())
                    self._start(self._follow_misses())
                    if self._changes:
                        self._start(self._listen(self._changes))
            finally:
                await self._finish()

    def _start(self, task: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(task)

    async def _finish(self) -> None:
        for finish in (self._engine.applier.drain_writes, self._engine.ledger.save):
            try:
                async with asyncio.timeout(SHUTDOWN):
                    await finish()
            except TimeoutError:
                log(logging.WARNING, "ended before all was written; the next start makes up for it")

    async def _load(self) -> None:
        wait = timedelta(seconds=1)
        while True:
            try:
                await self._engine.load()
                break
            except WrongClusterError:
                raise
            except RegcredError as error:
                log(logging.ERROR, "Vault can't be read yet; nothing is done until it is", problem=str(error))
                self._passed_at = time.monotonic()
            await asyncio.sleep(jittered(wait).total_seconds())
            wait = min(wait * 2, LONGEST_WAIT)
        self._loaded.set()
        self._engine.awake.set()

    # The cluster

    def _follow_all(self) -> None:
        for kind in self._engine.kinds():
            if kind not in self._followed:
                self._followed.add(kind)
                self._start(self._follow(kind))

    def _labelled(self, kind: Kind) -> bool:
        """Whether a watch of labelled metadata is enough. In serviceaccount mode sync needs the pod template."""
        if kind in {NAMESPACE, SERVICE_ACCOUNT}:
            return False
        inventory = self._engine.inventory
        accounts = inventory.chosen(Mode.SERVICEACCOUNT) and inventory.accounts_known
        return self._engine.options.rules.mode is Mode.ADMISSION and not accounts

    async def _follow(self, kind: Kind) -> None:
        version = ""
        listed_at = self._engine.clock()
        failures = 0
        relist = jittered(self._pace.relist, 0.2)
        while True:
            try:
                if not version or self._engine.clock() - listed_at > relist:
                    version = await self._engine.list_kind(kind)
                    listed_at = self._engine.clock()
                    self._begin_to_beat(kind)
                    if kind is NAMESPACE:
                        self._follow_all()
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
                if isinstance(error, ExpiredError):
                    version = ""
                elif failures > 1 or isinstance(error, MissingError):
                    version = ""
                    self._doubt(kind, error)
                await self._pause(kind, error, failures)

    async def _watch(self, kind: Kind, version: str, *, labelled: bool) -> AsyncIterator[Change]:
        begun, brought = time.monotonic(), False
        async for change in self._engine.cluster.watch(kind, version, labelled=labelled):
            brought = True
            yield change
        if not brought and time.monotonic() - begun < SHORTEST_WATCH:
            raise TransientError(f"the watch of {kind.plural} ended as soon as it had begun")

    def _doubt(self, kind: Kind, error: RegcredError) -> None:
        if not (kind.custom and isinstance(error, MissingError)):
            self._engine.inventory.doubt(kind)

    async def _pause(self, kind: Kind, error: RegcredError, failures: int) -> None:
        self._engine.meter.count("watch_failures_total", kind=kind.name, reason=error.kind)
        log(logging.WARNING, "a watch failed and is begun again", workload=kind.name, problem=str(error))
        wait = min(timedelta(seconds=0.1) * 2 ** min(failures, 12), LONGEST_WAIT)
        await asyncio.sleep(jittered(wait).total_seconds())

    def _take(self, kind: Kind, change: Change) -> None:
        inventory = self._engine.inventory
        if change.item is not None:
            changed = inventory.put(change.item)
            self._engine.touch(changed)
            if changed and isinstance(change.item, Workload):
                self._engine.drift.asked(change.item)
            if kind is NAMESPACE:
                self._follow_all()
        elif change.name:
            self._engine.touch(inventory.drop(kind, change.namespace, change.name))
        self._beat(kind)

    def _begin_to_beat(self, kind: Kind) -> None:
        """Start the series of a kind, so that a watch that never sends anything shows as silent."""
        if kind not in self._beating:
            self._beating.add(kind)
            self._beat(kind)

    def _beat(self, kind: Kind) -> None:
        self._engine.meter.set("watch_heartbeat_timestamp_seconds", time.time(), kind=kind.name)

    # Passes

    async def _pass(self) -> None:
        await self._loaded.wait()
        await self._await_first_lists()
        while True:
            await self._await_work()
            engine = self._engine
            engine.touch(engine.applier.retries.due())
            now = engine.clock()
            everything = now >= self._review_at
            scope = None if everything else set(engine.touched)
            engine.touched.clear()
            engine.awake.clear()
            if everything:
                self._review_at = now + jittered(self._pace.review, 0.2)
                engine.drop_unused_projects()
            if everything or scope:
                plan = await engine.reconcile(scope)
                if any(isinstance(action, UpdateLedger) and action.unused_since for action in plan.actions):
                    self._review_at = min(self._review_at, now + engine.options.rules.grace)
                self._passed_at = time.monotonic()
                if self._unpolled():
                    self._poll_now.set()

    async def _await_first_lists(self) -> None:
        """Wait for the first lists, so that a start needs only one pass. Do not wait for a kind that can't be listed."""
        inventory = self._engine.inventory
        for _ in range(int(self._pace.first_lists / LOOK)):
            accounts = SERVICE_ACCOUNT not in self._engine.kinds() or inventory.accounts_known
            if inventory.complete and accounts:
                return
            await asyncio.sleep(LOOK.total_seconds())

    async def _await_work(self) -> None:
        times = [self._review_at, self._engine.applier.retries.next() or self._review_at]
        wait = (min(times) - self._engine.clock()).total_seconds()
        try:
            async with asyncio.timeout(max(wait, 0.0)):
                await self._engine.awake.wait()
        except TimeoutError:
            return

    def review_now(self) -> None:
        """Make the next pass check everything."""
        self._review_at = self._engine.clock()
        self._engine.awake.set()

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(self._pace.relist.total_seconds())
            self._engine.events.tidy(self._engine.inventory)
            self._engine.drift.tidy()

    async def _follow_misses(self) -> None:
        await self._loaded.wait()
        await self._engine.drift.follow()

    async def _repair(self) -> None:
        """Slowly write everything in place again. Not soon after a start, so that a restart without changes writes nothing."""
        while True:
            await asyncio.sleep(jittered(self._pace.repair, 0.2).total_seconds())
            for action in self._engine.repairs():
                self._engine.repair(action)
                await asyncio.sleep(self._pace.repair_step.total_seconds())

    # Vault

    def _unpolled(self) -> set[str]:
        return self._engine.sources.projects.keys() - self._poll_at.keys()

    async def _poll(self) -> None:
        await self._loaded.wait()
        for name in (GRANTS, SIGNAL):
            self._poll_at[name] = self._engine.clock() + self._interval(name)
        await self._engine.sources.look_at_signal()
        while True:
            now = self._engine.clock()
            for project in self._unpolled():
                self._poll_at[project] = now + self._interval(project)
            due = [name for name, at in self._poll_at.items() if at <= now]
            if any(await asyncio.gather(*(self._look_at(name) for name in due))):
                self.review_now()
            wait = (min(self._poll_at.values()) - self._engine.clock()).total_seconds()
            try:
                async with asyncio.timeout(max(wait, 0.05)):
                    await self._poll_now.wait()
            except TimeoutError:
                pass
            self._poll_now.clear()

    async def _look_at(self, name: str) -> bool:
        sources = self._engine.sources
        if name == SIGNAL:
            await self._look_at_signal()
            return False
        if name != GRANTS and name not in sources.projects:
            del self._poll_at[name]
            return False
        changed = await (sources.look_at(name) if name else sources.look_at_grants())
        self._poll_at[name] = self._engine.clock() + self._interval(name)
        return changed

    async def _look_at_signal(self) -> None:
        ended = await self._engine.sources.look_at_signal()
        now = self._engine.clock()
        self._poll_at |= dict.fromkeys(ended & self._poll_at.keys(), now)
        self._poll_at[SIGNAL] = now + self._interval(SIGNAL)

    def _interval(self, name: str) -> timedelta:
        if name in {GRANTS, SIGNAL}:
            return jittered(min(self._pace.poll_soon, self._pace.poll), 0.2)
        now = self._engine.clock()
        project = self._engine.sources.projects.get(name)
        expected = project and any(
            registry.refresh_at
            and registry.refresh_at - self._pace.poll <= now <= registry.refresh_at + SOON_AFTER
            for registry in project.registries.values()
        )
        return jittered(self._pace.poll_soon if expected else self._pace.poll, 0.2)

    async def _listen(self, changes: Callable[[], AsyncIterator[str]]) -> None:
        await self._loaded.wait()
        async for path in changes():
            now = self._engine.clock()
            names = documents_of(path, self._engine.options.rules.cluster) if path else set(self._poll_at)
            for name in names & self._poll_at.keys():
                self._poll_at[name] = now
            self._poll_now.set()

    async def _save(self) -> None:
        await self._loaded.wait()
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


def documents_of(path: str, cluster: str) -> set[str]:
    """The polled document of a changed path in the mount: a project's name, or :data:`GRANTS`."""
    match path.split("/"):
        case [*_, "platform", "clusters", name] if name == cluster:
            return {GRANTS}
        case [*_, "credentials", project, "_index"]:
            return {project}
    return set()
