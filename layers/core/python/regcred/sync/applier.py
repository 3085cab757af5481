"""Carries out a plan's actions concurrently. Actions that Pods may be waiting for go first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self

from regcred.cluster.interface import Cluster, DeniedError, NameTakenError
from regcred.cluster.model import LedgerEntry
from regcred.errors import MissingError, RegcredError, TransientError
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
from regcred.sync.ledger import Ledger
from regcred.sync.logging import log
from regcred.sync.messages import Why
from regcred.sync.metrics import Meter
from regcred.sync.retries import Key, Pause, Retries
from regcred.sync.sources import Sources
from regcred.sync.teller import Teller

CONCURRENCY = 16
"""Concurrent writes. More would gain nothing: the API server is the limit, and urgent writes would queue there."""

TELLERS = 2

TRIES = 3
"""How often a write is tried immediately before it is queued again."""
AGAIN = timedelta(seconds=0.2)
AT_ONCE = timedelta(seconds=5)
"""If a server asks for a longer pause than this, the write is retried later and other work continues."""

TOLD_AFTER = 3
"""Consecutive failures after which owners get an Event about a transient error."""

LOOK_AGAIN = timedelta(seconds=30)
"""Another look at live Pods is not worth its request within this time, however short the grace period is."""

KEPT_REFUSALS = frozenset({Why.REVOKED, Why.REMOVED})
"""The reasons for a removal that leave a refusal in the ledger. Without a grant, nothing is recorded in Vault."""

FAILURES_KEPT = 1000
"""The maximum number of failures that a report lists."""


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
    """Removals that wait because a live Pod names the Secret."""
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
    """Runs actions by rank. An async context manager: its workers run while it is open.

    Args:
        cluster: Where to write.
        sources: Where credentials come from.
        ledger: Records each success.
        clock: Tells the time.
        meter: Measures.
        touched: Called with the namespace after each write, so that sync checks the namespace again.
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
        self._number = 0
        self._in_flight: set[Key] = set()
        self._pause = Pause()
        self._teller = Teller(cluster, meter, self._pause)
        self.retries = Retries(clock)
        self._workers: list[asyncio.Task[None]] = []
        self.report = Report()

    async def __aenter__(self) -> Self:
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        self._workers += [asyncio.create_task(self._teller.work()) for _ in range(TELLERS)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    @property
    def idle(self) -> bool:
        """Whether nothing but Events is queued or in progress."""
        return not self._in_flight and self._writes.empty()

    def __contains__(self, key: object) -> bool:
        """Whether this is being written or waits for a retry. A plan ignores it."""
        return key in self._in_flight or key in self.retries

    def blocks_removal(self, key: Key) -> bool:
        """Whether a removal must wait, because a write is in progress or the last removal failed."""
        return key in self._in_flight or self.retries.blocks_removal(key)

    def submit(self, actions: Iterable[Action]) -> None:
        """Queue actions. They must not contain anything that is already in progress."""
        for action in actions:
            if isinstance(action, EmitEvent):
                self._teller.add(action)
            else:
                self._number += 1
                self._writes.put_nowait(_Job(rank(action), self._number, action))
                if key := key_of(action):
                    self._in_flight.add(key)
                    self.retries.begin(key)

    async def drain(self) -> None:
        """Wait until everything in the queue is done."""
        await self.drain_writes()
        await self._teller.drain()
        self.report.told = self._teller.told

    async def drain_writes(self) -> None:
        """Wait until everything but Events is done. Events may have to wait for the rate limit."""
        await self._writes.join()

    async def _work(self) -> None:
        while True:
            action = (await self._writes.get()).action
            error: RegcredError | None = None
            try:
                await self._try(partial(self._do, action))
            except RegcredError as failure:
                error = failure
            except Exception as failure:  # noqa: BLE001 - an unexpected failure of one action must not end its worker
                error = RegcredError(f"an internal error ({type(failure).__name__}); please report it")
            self._settle(action, error)
            self._writes.task_done()

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
            self.retries.put_off((action.namespace, action.reference), LOOK_AGAIN)
            self.report.deferred += 1
            return
        await self._cluster.delete_secret(action.namespace, action.reference, placed=bool(place.version))
        left = LedgerEntry(refused=action.why) if action.why in KEPT_REFUSALS else None
        self._ledger.put(action.namespace, action.reference, left)
        self.report.removed += 1
        self._meter.count("secrets_removed_total", why=action.why)

    async def _evict(self, action: EvictPod) -> None:
        evicted = await self._cluster.evict(action.namespace, action.pod)
        self.retries.put_off((action.namespace, action.pod), LOOK_AGAIN)
        self.report.evicted += evicted
        self._meter.count("pods_evicted_total", outcome="evicted" if evicted else "put-off")

    def _settle(self, action: Action, error: RegcredError | None) -> None:
        key = key_of(action)
        if isinstance(error, MissingError):
            error = None  # the object is gone, so there is nothing left to do
            if isinstance(action, WriteSecret | Remove):
                self._ledger.put(action.namespace, action.reference, None)
        news = False
        if key:
            self._in_flight.discard(key)
            if error is None:
                self.retries.succeed(key)
            else:
                news = self.retries.fail(key, error, write=isinstance(action, WriteSecret))
        if error is not None:
            self._note_failure(action, error)
            if len(self.report.failures) < FAILURES_KEPT:
                self.report.failures.append(f"{str(action).split()[0]} {_where(action)}: {error}")
            self._meter.count("writes_failed_total", kind=error.kind)
            if news:
                log(
                    logging.WARNING, "a write failed", action=str(action), problem=str(error), kind=error.kind
                )
        self._touched(action, error)

    def _note_failure(self, action: Action, error: RegcredError) -> None:
        """Record in the ledger why a Secret was not written or removed. ``explain`` and ``doctor`` read it."""
        if not isinstance(action, WriteSecret | Remove):
            return
        if isinstance(error, NameTakenError):
            clash = LedgerEntry(refused=Why.CLASH)
            self._ledger.put(action.namespace, action.reference, clash)
        elif words := self.words_of(action, error):
            place = self._ledger.place(action.namespace, action.reference) or LedgerEntry()
            refused = Why.NOT_WRITTEN if isinstance(action, WriteSecret) else place.refused
            self._ledger.put(
                action.namespace, action.reference, replace(place, refused=refused, detail=words)
            )

    def words_of(self, action: Action, error: RegcredError) -> str:
        """The message about a failure for the owner of a workload; empty if there is none yet."""
        if isinstance(error, DeniedError):
            return error.words
        key = key_of(action)
        lasts = key is not None and self.retries.failures(key) >= TOLD_AFTER
        return (
            f"the API server answered {error.answer.status} {error.answer.reason}"
            if error.answer and lasts
            else ""
        )


def rank(action: Action) -> int:
    """The order of queued writes: first projections, names in ServiceAccounts, refreshes, removals."""
    if isinstance(action, WriteSecret):
        return 0 if action.first else 2
    return 1 if isinstance(action, UpdateServiceAccount) else 3


def key_of(action: Action) -> Key | None:
    """The key of what must not be changed twice at the same time."""
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
