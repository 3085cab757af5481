"""Observe, plan, apply: one pass over the whole cluster, or over the namespaces that changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from regcred.cluster.interface import Cluster
from regcred.cluster.model import NAMESPACE, SERVICE_ACCOUNT, WORKLOADS, Kind, LedgerEntry, Mode
from regcred.errors import MissingError, RegcredError, TransientError
from regcred.reference import Reference
from regcred.sync.actions import (
    Action,
    EmitEvent,
    EvictPod,
    Plan,
    UpdateLedger,
    WriteSecret,
)
from regcred.sync.applier import CONCURRENCY, Applier
from regcred.sync.clock import Clock, utc_now
from regcred.sync.drift import Drift
from regcred.sync.events import EventRecorder
from regcred.sync.evictions import Evictions
from regcred.sync.gauges import Gauges
from regcred.sync.identity import IdentityCheck, WrongClusterError
from regcred.sync.inventory import Inventory
from regcred.sync.ledger import Ledger, updated
from regcred.sync.logging import log
from regcred.sync.metrics import Meter, Unmeasured
from regcred.sync.outcomes import Outcomes
from regcred.sync.plan import make_plan
from regcred.sync.repairs import is_useful, repairs
from regcred.sync.sources import Sources
from regcred.sync.vault_threads import VaultThreads
from regcred.sync.view import Knowledge, Rules, View
from regcred.vault.store import Store

WRITE_AHEAD = 2.0
"""Seconds that a first projection waits for the ledger. After that it continues, and the ledger is written later."""


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of a sync."""

    rules: Rules
    kinds: tuple[Kind, ...] = WORKLOADS
    concurrency: int = CONCURRENCY


class Engine:
    """Holds the state of one sync, and runs passes. An async context manager.

    Args:
        cluster: The cluster's API.
        store: The ``regcred/`` mount.
        options: The settings.
        clock: Tells the time.
        meter: Measures.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        options: Options,
        *,
        clock: Clock = utc_now,
        meter: Meter | None = None,
    ) -> None:
        self.cluster = cluster
        self.options = options
        self.clock = clock
        self.meter = meter or Unmeasured()
        self.vault = VaultThreads(self.meter)
        name = options.rules.cluster
        self.sources = Sources(store, name, self.vault, clock, self.meter)
        self.ledger = Ledger(store, name, self.vault, clock, self.meter, mode=options.rules.mode)
        self.identity = IdentityCheck(cluster, store, name, self.vault, clock)
        self.inventory = Inventory(options.kinds)
        self.events = EventRecorder()
        self._evictions = Evictions()
        self._gauges = Gauges(self.meter)
        self.touched: set[str] = set()
        """Namespaces to check again."""
        self.awake = asyncio.Event()
        """Set when there is something to check."""
        self.applier = Applier(
            cluster,
            self.sources,
            self.ledger,
            clock,
            self.meter,
            touched=Outcomes(
                self.inventory,
                self._evictions,
                options.rules,
                touch=self.touch,
                emit=self._emit,
                events=self.events,
                words_of=self._words_of,
            ).after,
            concurrency=options.concurrency,
        )

        self.drift = Drift(cluster, self.ledger, self.inventory, clock, self.meter, repair=self.repair)

    async def __aenter__(self) -> Self:
        await self.applier.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.applier.__aexit__(kind, error, trace)
        self.vault.close()

    async def load(self, *, dry_run: bool = False) -> None:
        """Read the grants and the ledger, and check that the name belongs to this cluster.

        Args:
            dry_run: Write nothing.

        Raises:
            WrongClusterError: the name belongs to another cluster.
            RegcredError: Vault can't be read, so sync can't know what is in place.
        """
        await self.sources.look_at_grants()
        await self.identity.check(pin=self._is_granted() and not dry_run)
        await self.ledger.load()
        for namespace, places in self.ledger.places.items():
            for reference, place in places.items():
                self.sources.remember(reference, place.version or 0)
                if place.refused:
                    self.events.load(namespace, reference, place.refused)
        await self.look_at_projects(self.ledger.projects())

    async def list_kind(self, kind: Kind) -> str:
        """List all objects of one kind. Return the resourceVersion from which to watch.

        Raises:
            RegcredError: the list failed. The known objects of the kind stay, and count as incomplete.
        """
        try:
            listing = await self.cluster.list(kind)
        except MissingError:
            if not kind.custom:
                raise
            if self.inventory.holds(kind):
                # The cluster may serve another version now. That says nothing about the workloads.
                raise TransientError(
                    f"{kind.api_version} {kind.plural} are not served any longer; the workloads that were seen count "
                    "until a restart"
                ) from None
            log(logging.WARNING, "a configured kind is not served by this cluster", workload=kind.name)
            self.touch(self.inventory.replace(kind, []))
            raise
        self.touch(self.inventory.replace(kind, listing.items))
        self.meter.count("cluster_list_pages_total", listing.requests, kind=kind.name)
        return listing.resource_version

    def touch(self, namespaces: Iterable[str]) -> None:
        """Mark namespaces to be checked again."""
        self.touched.update(namespaces)
        if self.touched:
            self.awake.set()

    def kinds(self) -> tuple[Kind, ...]:
        """All kinds that are listed: workloads, Namespaces and, where a mode needs them, ServiceAccounts."""
        mode = Mode.SERVICEACCOUNT
        rules = self.options.rules
        accounts = rules.mode is mode or (rules.allows(mode) and self.inventory.chosen(mode))
        return (NAMESPACE, *self.options.kinds, *((SERVICE_ACCOUNT,) if accounts else ()))

    async def look_at_projects(self, projects: Iterable[str]) -> bool:
        """Poll the indexes of projects. Return whether any changed."""
        changed = await asyncio.gather(*(self.sources.look_at(project) for project in sorted(set(projects))))
        return any(changed)

    def projects_in_use(self) -> set[str]:
        """The projects that have Secrets in place, or that are granted and asked for."""
        asked = {
            reference.project for namespace in self.inventory.asking() for reference in self._asked(namespace)
        }
        return asked | self.ledger.projects()

    def _asked(self, namespace: str) -> set[Reference]:
        grants = self.sources.grants
        return {
            reference
            for workload in self.inventory.requests(namespace)
            for reference in workload.references
            if grants.allow(reference.project, namespace)
        }

    def drop_unused_projects(self) -> None:
        """Stop polling projects that nothing uses."""
        for project in self.sources.projects.keys() - self.projects_in_use():
            self.sources.forget(project)

    async def reconcile(self, scope: Iterable[str] | None = None, *, dry_run: bool = False) -> Plan:
        """Plan all namespaces, or those of ``scope``. Queue the actions unless ``dry_run`` is set."""
        started = time.monotonic()
        self.touch(self.applier.retries.due())
        names = None if scope is None else set(scope)
        asked = {reference.project for name in names or () for reference in self._asked(name)}
        unread = (self.projects_in_use() if names is None else asked) - self.sources.projects.keys()
        await self.look_at_projects(unread)
        view = View(
            now=self.clock(),
            inventory=self.inventory,
            grants=self.sources.grants,
            projects=self.sources.projects,
            places=self.ledger.places,
            rules=self.options.rules,
            in_place=self.ledger.in_place,
            busy=self.applier,
            blocks_removal=self.applier.blocks_removal,
            evicting=self._evictions.since,
        )
        plan = make_plan(view, names)
        if not dry_run and not await self._is_proven():
            return Plan()
        if not dry_run:
            # Somebody may have confirmed the held removals in a separate run. A conflict at the next write shows it.
            self.ledger.touch({removal.reference.project for removal in plan.held})
            await self._carry_out(plan)
            self.drift.put_back(self.sources.take_asked())
            if names is None:
                self._gauges.show_plan(plan)
                self._gauges.show_state(plan, self.ledger, self.sources, self.inventory)
        self.meter.time(
            "reconcile_seconds", time.monotonic() - started, scope="all" if names is None else "some"
        )
        return plan

    def _is_granted(self) -> bool:
        return self.sources.grants.knowledge is Knowledge.KNOWN

    async def _is_proven(self) -> bool:
        """Whether the name belongs to this cluster. A cluster without grants is not pinned: its name may be misspelt."""
        try:
            return await self.identity.check(pin=self._is_granted())
        except WrongClusterError:
            raise
        except RegcredError as error:
            log(
                logging.WARNING,
                "nothing is done: it is not known whether the name is this cluster's",
                problem=str(error),
            )
            return False

    async def _carry_out(self, plan: Plan) -> None:
        actions: list[Action] = []
        for action in plan.actions:
            if isinstance(action, UpdateLedger):
                self._update_ledger(action)
            elif not isinstance(action, EmitEvent) or self._record(action):
                actions.append(action)
            if isinstance(action, EvictPod):
                self._evictions.begin(action.namespace, action.account, self.clock())
        firsts = [action for action in actions if isinstance(action, WriteSecret) and action.first]
        for first in firsts:
            self.ledger.enter(first.namespace, first.reference, 0, first.short_uid)
        if firsts:
            self.sources.fetch({(first.reference, first.version) for first in firsts})
            await self._write_ahead()
        self.applier.submit(actions)

    async def _write_ahead(self) -> None:
        """Record first projections before they are written, so that a crash leaves no unknown Secret."""
        saving = asyncio.ensure_future(self.ledger.save())
        done, _ = await asyncio.wait([saving], timeout=WRITE_AHEAD)
        if not done:
            log(logging.WARNING, "Vault is slow: projecting before the ledger is written")

    def repairs(self) -> list[WriteSecret]:
        """An action for each Secret in place, which writes its expected content again."""
        return repairs(self.ledger, self.inventory, self.applier)

    def repair(self, action: WriteSecret) -> None:
        """Queue a repair, unless it has become unnecessary."""
        if is_useful(action, self.ledger, self.sources.projects, self.applier):
            self.applier.submit([action])

    def _update_ledger(self, update: UpdateLedger) -> None:
        namespace, reference = update.namespace, update.reference
        old = self.ledger.place(namespace, reference) or LedgerEntry()
        if old.version is None and not update.forget and not self._may_record(namespace, reference):
            return
        new = updated(old, update)
        if update.forget or old.refused != new.refused:
            self.events.forget(namespace, reference)
        self.ledger.put(namespace, reference, None if new == LedgerEntry() else new)

    def _words_of(self, action: Action, error: RegcredError) -> str:
        return self.applier.words_of(action, error)

    def _may_record(self, namespace: str, reference: Reference) -> bool:
        """Whether to record a refusal in Vault. Annotations can name anything, and that must not fill Vault."""
        granted = self.sources.grants.allow(reference.project, namespace)
        return granted and self.ledger.has_room(namespace, reference)

    def _emit(self, event: EmitEvent) -> None:
        """Queue an Event unless it was written before."""
        if self._record(event):
            self.applier.submit([event])

    def _record(self, event: EmitEvent) -> bool:
        """Remember an Event. Return whether it is new."""
        reference = event.reference
        written_at = self.ledger.written_at.get(reference.project) if reference else None
        return self.events.record(event, ledger_written_at=written_at)
