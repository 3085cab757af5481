"""Observe, plan, apply: one pass over the whole cluster, or over the namespaces that changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from regcred.clock import Clock, utc_now
from regcred.cluster.interface import Cluster
from regcred.cluster.model import NAMESPACE, SERVICE_ACCOUNT, WORKLOADS, Kind, Mode
from regcred.errors import MissingError, TransientError
from regcred.sync.action_handlers import AccountUpdater, PodEvictor, SecretRemover, SecretWriter
from regcred.sync.actions import ClusterAction, EvictPod, Plan, Remove, UpdateServiceAccount, WriteSecret
from regcred.sync.applier import CONCURRENCY, Applier, Handler
from regcred.sync.demand import Demand
from regcred.sync.drift import Drift
from regcred.sync.event_duplicates import EventRecorder
from regcred.sync.event_sender import EventSender
from regcred.sync.execution import Execution
from regcred.sync.gauges import Gauges
from regcred.sync.identity import IdentityCheck
from regcred.sync.inventory import Inventory
from regcred.sync.ledger import Ledger
from regcred.sync.logging import log
from regcred.sync.metrics import Meter, Unmeasured
from regcred.sync.plan import make_plan
from regcred.sync.plan_input import PlanInput, Rules
from regcred.sync.pod_evictions import Evictions
from regcred.sync.repairs import repairs
from regcred.sync.report import Report
from regcred.sync.retries import Pause, Retries
from regcred.sync.vault_sources import Sources
from regcred.sync.vault_threads import VaultThreads
from regcred.sync.workload_events import WorkloadEvents
from regcred.vault.store import Store


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of a sync."""

    rules: Rules
    kinds: tuple[Kind, ...] = WORKLOADS
    concurrency: int = CONCURRENCY


class Engine:
    """Keeps the state of one sync, and runs passes. An async context manager.

    Args:
        cluster: The cluster's API.
        store: The ``regcred/`` mount.
        options: The settings.
        clock: Returns the time.
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
        self.demand = Demand(self.inventory, self.ledger, self.sources, options.rules)
        self.report = Report()
        self.retries = Retries(clock)
        self.pause = Pause()
        self.sender = EventSender(cluster, self.meter, self.pause)
        workload_events = WorkloadEvents(self.events, self.ledger, self.inventory, self.sender, cluster=name)
        self.applier = Applier(
            _handlers(self, workload_events, self._evictions),
            self.retries,
            self.pause,
            self.meter,
            self.report,
            touch=self.touch,
            concurrency=options.concurrency,
        )
        self.execution = Execution(
            self.applier,
            workload_events,
            sources=self.sources,
            ledger=self.ledger,
            events=self.events,
            evictions=self._evictions,
            clock=clock,
        )
        self.drift = Drift(
            cluster,
            self.ledger,
            self.inventory,
            clock,
            self.meter,
            pause=self.pause,
            repair=self.execution.repair,
        )

    async def __aenter__(self) -> Self:
        await self.sender.__aenter__()
        await self.applier.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.applier.__aexit__(kind, error, trace)
        await self.sender.__aexit__(kind, error, trace)
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
        await self.identity.check(pin=self.sources.granted and not dry_run)
        await self.ledger.load()
        for namespace, entries in self.ledger.entries.items():
            for reference, entry in entries.items():
                self.sources.versions.remember(reference, entry.version or 0)
                if entry.refused:
                    self.events.load(namespace, reference, entry.refused, entry.detail)
        await self.demand.read(self.ledger.projects())

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
            if self.inventory.has_requests(kind):
                # The cluster may serve another version now. That proves nothing about the workloads.
                raise TransientError(
                    f"the API server no longer serves {kind.api_version} {kind.plural}; sync keeps the "
                    "workloads that it has seen until it restarts"
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
        accounts = rules.mode is mode or (rules.allows(mode) and self.inventory.is_chosen(mode))
        return (NAMESPACE, *self.options.kinds, *((SERVICE_ACCOUNT,) if accounts else ()))

    async def reconcile(self, scope: Iterable[str] | None = None, *, dry_run: bool = False) -> Plan:
        """Plan all namespaces, or those of ``scope``. Queue the actions unless ``dry_run`` is set."""
        started = time.monotonic()
        self.touch(self.retries.due())
        names = None if scope is None else set(scope)
        await self.demand.read_new(names)
        inputs = PlanInput(
            now=self.clock(),
            inventory=self.inventory,
            grants=self.sources.grants,
            projects=self.sources.projects,
            entries=self.ledger.entries,
            rules=self.options.rules,
            in_place=self.ledger.in_place,
            busy=self.applier.busy,
            blocked_removals=self.applier.blocked_removals,
            evicting=self._evictions.since,
        )
        plan = make_plan(inputs, names)
        if not dry_run and not await self.identity.prove(pin=self.sources.granted):
            return Plan()
        if not dry_run:
            # A person may have confirmed the held removals in a separate run. A conflict at the next write
            # shows it.
            self.ledger.touch({removal.reference.project for removal in plan.held})
            self.execution.begin(plan)
            self.drift.repair_requested(self.sources.take_requested())
            if names is None:
                self._gauges.show_plan(plan)
                self._gauges.show_state(plan, self.ledger, self.sources, self.inventory)
        self.meter.time(
            "reconcile_seconds", time.monotonic() - started, scope="all" if names is None else "some"
        )
        return plan

    async def drain(self) -> None:
        """Wait until all queued actions are done and all queued Events have been tried."""
        await self.execution.drain()
        await self.sender.drain()
        self.report.sent = self.sender.sent

    def repairs(self) -> list[WriteSecret]:
        """An action for each Secret in place, which writes its expected content again."""
        return repairs(self.ledger, self.inventory, self.applier)


def _handlers(
    engine: Engine, workload_events: WorkloadEvents, evictions: Evictions
) -> Mapping[type[ClusterAction], Handler[Any]]:
    """The handler of each type of action."""
    cluster, ledger, inventory, credentials = (
        engine.cluster,
        engine.ledger,
        engine.inventory,
        engine.sources.credentials,
    )
    rules, retries, clock, meter = engine.options.rules, engine.retries, engine.clock, engine.meter
    report, touch = engine.report, engine.touch
    return {
        WriteSecret: SecretWriter(
            cluster, credentials, ledger, inventory, rules, workload_events, meter, report, touch
        ),
        Remove: SecretRemover(
            cluster, ledger, inventory, workload_events, retries, clock, meter, report, touch
        ),
        UpdateServiceAccount: AccountUpdater(
            cluster, ledger, inventory, evictions, workload_events, report, touch
        ),
        EvictPod: PodEvictor(cluster, retries, meter, report, touch),
    }
