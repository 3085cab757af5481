"""Carries out a plan's actions, many at once, what Pods may be waiting for first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Self

from regcred.cluster.interface import Cluster, Message, NameTakenError
from regcred.cluster.model import LedgerEntry
from regcred.errors import MissingError, RegcredError, TransientError
from regcred.reference import Reference
from regcred.sync.actions import (
    Action,
    EmitEvent,
    EvictPod,
    Remove,
    UpdateLedger,
    UpdateServiceAccount,
    WriteSecret,
    account_key,
)
from regcred.sync.clock import Clock, jittered
from regcred.sync.fair_queue import FairQueue
from regcred.sync.ledger import Ledger
from regcred.sync.logging import log
from regcred.sync.messages import Reason, Why
from regcred.sync.metrics import Meter
from regcred.sync.sources import Sources

CONCURRENCY = 16
"""Writes in flight; more gains nothing, since the API server is the limit, and what Pods wait for queues behind them there."""

TELLERS = 2
EVENTS_PER_SECOND = 20.0
"""Events are for people: at most this many a second, after a burst."""
EVENTS_BURST = 100
EVENTS_WAITING = 200
"""Of each namespace at most; the oldest is dropped for a newer one."""

TRIES = 3
"""How often a write is tried at once before it waits for its turn again."""
AGAIN = timedelta(seconds=0.2)
LONGEST = timedelta(minutes=5)
CLASH_AGAIN = timedelta(minutes=10)
"""How long a Secret that is somebody else's is left before it is tried again."""

LOOK_AGAIN = timedelta(seconds=30)
"""How long after a look at live Pods the next look is worth its request, however short the grace."""

FAILURES_KEPT = 1000
"""How many failures a report lists at most."""

Key = tuple[str, Reference | str]
"""What an action is about: a namespace and a reference, the name of a Pod, or what stands for a ServiceAccount."""


@dataclass(slots=True)
class Report:
    """What was done since the last report."""

    created: int = 0
    updated: int = 0
    repaired: int = 0
    removed: int = 0
    attached: int = 0
    evicted: int = 0
    told: int = 0
    deferred: int = 0
    """Removals put off because a live Pod names the Secret."""
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        done = {
            "created": self.created,
            "updated": self.updated,
            "repaired": self.repaired,
            "removed": self.removed,
            "ServiceAccounts changed": self.attached,
            "Pods evicted": self.evicted,
            "Events": self.told,
            "put off for live Pods": self.deferred,
            "failed": len(self.failures),
        }
        return ", ".join(f"{number} {what}" for what, number in done.items() if number) or "nothing to do"


@dataclass(order=True, slots=True)
class _Job:
    rank: int
    number: int
    action: Action = field(compare=False)


class Applier:
    """Runs actions by rank. An async context manager: its workers live as long as it is open.

    Args:
        cluster: Where to write.
        sources: Where credentials come from.
        ledger: Is told of each success.
        clock: Tells the time.
        meter: Measures.
        touched: Is called with the namespace after each write, so that it is looked at again.
    """

    def __init__(
        self,
        cluster: Cluster,
        sources: Sources,
        ledger: Ledger,
        clock: Clock,
        meter: Meter,
        *,
        touched: Callable[[Action, RegcredError | None], None],
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._cluster = cluster
        self._sources = sources
        self._ledger = ledger
        self._clock = clock
        self._meter = meter
        self._touched = touched
        self._concurrency = concurrency
        self._writes: asyncio.PriorityQueue[_Job] = asyncio.PriorityQueue()
        self._events: FairQueue[EmitEvent] = FairQueue(
            lambda tell: tell.about.namespace, limit=EVENTS_WAITING
        )
        self._number = 0
        self._in_flight: set[Key] = set()
        self._retry_at: dict[Key, datetime] = {}
        self._failed: dict[Key, int] = {}
        self._allowance = float(EVENTS_BURST)
        self._allowed_at = 0.0
        self._workers: list[asyncio.Task[None]] = []
        self.report = Report()

    async def __aenter__(self) -> Self:
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        self._workers += [asyncio.create_task(self._speak()) for _ in range(TELLERS)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or under way but Events."""
        return not self._in_flight and self._writes.empty()

    def __contains__(self, key: object) -> bool:
        """Whether this is being written, or waits to be tried again; a plan leaves it alone."""
        return key in self._in_flight or key in self._retry_at

    def waited(self) -> set[str]:
        """The namespaces of those that have waited long enough, each told once."""
        now = self._clock()
        ready = [key for key, at in self._retry_at.items() if at <= now]
        for key in ready:
            del self._retry_at[key]
        return {namespace for namespace, _ in ready}

    def next_retry(self) -> datetime | None:
        """When the first of those that wait may be tried again."""
        return min(self._retry_at.values(), default=None)

    def submit(self, actions: Iterable[Action]) -> None:
        """Queue actions; what is in flight already must not be among them."""
        for action in actions:
            if isinstance(action, EmitEvent):
                if self._events.add(action):
                    self._meter.count("events_dropped_total")
            else:
                self._number += 1
                self._writes.put_nowait(_Job(rank(action), self._number, action))
                if key := key_of(action):
                    self._in_flight.add(key)

    async def drain(self) -> None:
        """Wait until all that was queued is done."""
        await self.drain_writes()
        await self._events.join()

    async def drain_writes(self) -> None:
        """The same, but for Events, which may have to wait for their turn."""
        await self._writes.join()

    async def _work(self) -> None:
        while True:
            action = (await self._writes.get()).action
            error: RegcredError | None = None
            try:
                await self._try(partial(self._do, action))
            except RegcredError as failure:
                error = failure
            except Exception as failure:  # noqa: BLE001 - one action that fails oddly must not end its worker
                error = RegcredError(f"an internal error ({type(failure).__name__}); please report it")
            self._settle(action, error)
            self._writes.task_done()

    async def _try(self, do: Callable[[], Awaitable[None]]) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                await do()
            except TransientError as error:
                if attempt == TRIES:
                    raise
                wait = max(error.retry_after or AGAIN, AGAIN) * 2 ** (attempt - 1)
                await asyncio.sleep(jittered(min(wait, timedelta(seconds=5))).total_seconds())
            else:
                return

    async def _do(self, action: Action) -> None:
        if isinstance(action, WriteSecret):
            await self._project(action)
        elif isinstance(action, Remove):
            await self._remove(action)
        elif isinstance(action, UpdateServiceAccount):
            changed = await self._cluster.set_pull_secrets(
                action.namespace, action.account, add=action.add, remove=action.remove
            )
            self.report.attached += changed
        elif isinstance(action, EvictPod):
            await self._evict(action)

    async def _project(self, action: WriteSecret) -> None:
        body = await self._sources.body(action.reference, action.version)
        await self._cluster.apply_secret(action.namespace, body, first=action.first)
        self._ledger.enter(action.namespace, action.reference, body.version, action.short_uid)
        kind = "first" if action.first else "repair" if action.old == body.version else "refresh"
        self.report.created += kind == "first"
        self.report.updated += kind == "refresh"
        self.report.repaired += kind == "repair"
        self._meter.count("secrets_written_total", kind=kind)

    async def _remove(self, action: Remove) -> None:
        place = self._ledger.place(action.namespace, action.reference)
        if place is None or (action.waits and not place.unused_since):
            return
        name = action.reference.secret_name
        for account in action.accounts:
            try:
                await self._cluster.set_pull_secrets(action.namespace, account, add=(), remove=(name,))
            except MissingError:
                continue
        if action.waits and any(
            name in pod.pull_secrets for pod in await self._cluster.live_pods(action.namespace)
        ):
            now = self._clock()
            self._ledger.put(action.namespace, action.reference, replace(place, unused_since=now.isoformat()))
            self._retry_at[action.namespace, action.reference] = now + LOOK_AGAIN
            self.report.deferred += 1
            return
        await self._cluster.delete_secret(action.namespace, action.reference)
        left = None if action.waits else LedgerEntry(refused=action.why)
        self._ledger.put(action.namespace, action.reference, left)
        self.report.removed += 1
        self._meter.count("secrets_removed_total", why=action.why)

    async def _evict(self, action: EvictPod) -> None:
        evicted = await self._cluster.evict(action.namespace, action.pod)
        self._retry_at[action.namespace, action.pod] = self._clock() + LOOK_AGAIN
        self.report.evicted += evicted
        self._meter.count("pods_evicted_total", outcome="evicted" if evicted else "put-off")

    def _settle(self, action: Action, error: RegcredError | None) -> None:
        key = key_of(action)
        if isinstance(error, MissingError):
            error = None  # what it was about is gone, and so is the task
            if isinstance(action, WriteSecret | Remove):
                self._ledger.put(action.namespace, action.reference, None)
        if key:
            self._in_flight.discard(key)
            if error is None:
                self._failed.pop(key, None)
        if isinstance(error, NameTakenError) and isinstance(action, WriteSecret | Remove):
            self._ledger.put(action.namespace, action.reference, LedgerEntry(refused=Why.CLASH))
            self._put_off(key, CLASH_AGAIN)
        elif error is not None and key:
            self._failed[key] = self._failed.get(key, 0) + 1
            self._put_off(key, jittered(min(AGAIN * 2 ** min(self._failed[key] + 2, 12), LONGEST)))
        if error is not None:
            if len(self.report.failures) < FAILURES_KEPT:
                self.report.failures.append(f"{str(action).split()[0]} {_where(action)}: {error}")
            self._meter.count("writes_failed_total", kind=error.kind)
            log(logging.WARNING, "a write failed", action=str(action), problem=str(error), kind=error.kind)
        self._touched(action, error)

    def _put_off(self, key: Key | None, span: timedelta) -> None:
        if key:
            self._retry_at[key] = self._clock() + span

    async def _speak(self) -> None:
        while True:
            tell = await self._events.get()
            message = Message(
                tell.about, tell.reason, tell.note, warning=tell.reason is not Reason.NOT_NEEDED
            )
            problem = ""
            try:
                await self._await_allowance()
                await self._try(partial(self._cluster.tell, message))
                self.report.told += 1
                self._meter.count("events_total", reason=tell.reason)
            except RegcredError as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001 - one Event that fails oddly must not end who writes them
                problem = f"an internal error ({type(error).__name__}); please report it"
            finally:
                self._events.task_done()
            if problem:
                log(logging.WARNING, "an Event could not be written", about=str(tell.about), problem=problem)

    async def _await_allowance(self) -> None:
        now = asyncio.get_running_loop().time()
        earned = (now - self._allowed_at) * EVENTS_PER_SECOND
        self._allowance = min(EVENTS_BURST, self._allowance + earned) - 1
        self._allowed_at = now
        if self._allowance < 0:
            await asyncio.sleep(-self._allowance / EVENTS_PER_SECOND)


def rank(action: Action) -> int:
    """The order among queued writes: first projections, names in ServiceAccounts, refreshes, removals."""
    if isinstance(action, WriteSecret):
        return 0 if action.first else 2
    return 1 if isinstance(action, UpdateServiceAccount) else 3


def key_of(action: Action) -> Key | None:
    """What must not be acted on twice at a time."""
    match action:
        case WriteSecret() | Remove():
            return action.namespace, action.reference
        case UpdateServiceAccount():
            return action.namespace, account_key(action.account)
        case EvictPod():
            return action.namespace, action.pod
        case EmitEvent() | UpdateLedger():
            return None


def _where(action: Action) -> str:
    match action:
        case WriteSecret() | Remove():
            return f"{action.namespace}/{action.reference.secret_name}"
        case UpdateServiceAccount():
            return f"{action.namespace}/{action.account}"
        case EvictPod():
            return f"{action.namespace}/{action.pod}"
        case EmitEvent() | UpdateLedger():
            return str(action)
