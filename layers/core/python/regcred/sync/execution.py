"""Starts a plan: writes the ledger where a write must come first, then queues the changes to the cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from regcred.clock import Clock
from regcred.cluster.model import LedgerEntry
from regcred.registry_reference import Reference
from regcred.sync.actions import (
    ClusterAction,
    EmitEvent,
    EvictPod,
    Plan,
    UpdateLedger,
    UpdateServiceAccount,
    WriteSecret,
)
from regcred.sync.applier import Applier
from regcred.sync.event_duplicates import EventRecorder
from regcred.sync.ledger import Ledger, announced, updated
from regcred.sync.ledger_documents import has_room
from regcred.sync.logging import log
from regcred.sync.pod_evictions import Evictions
from regcred.sync.repairs import is_useful
from regcred.sync.vault_sources import Sources
from regcred.sync.workload_events import WorkloadEvents

WRITE_AHEAD = 2.0
"""Seconds that a first projection waits for the ledger. After that it continues, and the ledger is written
later."""

NAMES_AHEAD = 0.2
"""Seconds that a first projection waits for the names of the same plan."""


class Execution:
    """Passes each action of a plan to the part that carries it out.

    Args:
        applier: Changes the cluster.
        workload_events: Writes Events.
        sources: Where credentials come from.
        ledger: Records refusals, and each first projection before it is written.
        events: Forgets the Events about references that have changed.
        evictions: Records when stuck Pods are first evicted.
        clock: Returns the time.
    """

    def __init__(
        self,
        applier: Applier,
        workload_events: WorkloadEvents,
        *,
        sources: Sources,
        ledger: Ledger,
        events: EventRecorder,
        evictions: Evictions,
        clock: Clock,
    ) -> None:
        self._sources = sources
        self._ledger = ledger
        self._events = events
        self._evictions = evictions
        self._workload_events = workload_events
        self._applier = applier
        self._clock = clock
        self._entering: set[asyncio.Task[None]] = set()

    def begin(self, plan: Plan) -> None:
        """Record changes of the ledger, and queue the rest.

        Only first projections wait for the write of the ledger. Nothing else may wait, because a
        ServiceAccount that appears meanwhile needs its names before its first Pod is created.
        """
        names: list[UpdateServiceAccount] = []
        firsts: list[WriteSecret] = []
        others: list[ClusterAction] = []
        events: list[EmitEvent] = []
        for action in plan.actions:
            match action:
                case UpdateLedger():
                    self._update_ledger(action)
                case EmitEvent():
                    if self._workload_events.record(action):
                        events.append(action)
                case UpdateServiceAccount():
                    names.append(action)
                case WriteSecret(first=True):
                    firsts.append(action)
                case EvictPod():
                    self._evictions.begin(action.namespace, action.account, self._clock())
                    others.append(action)
                case _:
                    others.append(action)
        # Names go first: controllers create Pods as soon as a workload exists, and a Pod never gets a name
        # that its ServiceAccount gets later. Names leave no Secret behind, so they need no ledger entry.
        self._applier.submit(names)
        if firsts:
            self._announce(firsts)
            task = asyncio.create_task(self._enter(firsts, after=names))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)
        self._applier.submit(others)
        self._workload_events.submit(events)

    async def drain(self) -> None:
        """Wait until all actions of the plans are done."""
        while self._entering:
            await asyncio.gather(*self._entering)
        await self._applier.drain()

    def repair(self, action: WriteSecret) -> None:
        """Queue a repair, unless it has become unnecessary."""
        if is_useful(action, self._ledger, self._sources.projects, self._applier):
            self._applier.submit([action])

    def _announce(self, firsts: list[WriteSecret]) -> None:
        """Enter first projections into the ledger, and mark them as in progress until they are queued."""
        self._applier.reserve(firsts)
        for first in firsts:
            old = self._ledger.entry(first.namespace, first.reference)
            self._ledger.put(first.namespace, first.reference, announced(old, first.short_uid))

    async def _enter(self, firsts: list[WriteSecret], *, after: Sequence[UpdateServiceAccount]) -> None:
        """Queue first projections after the write of the ledger, so that a crash leaves no unknown Secret.

        Meanwhile read their credentials. All this waits for the names of the same plan, because it would
        delay them. The first Pod can pull only if it is created after the names. The Secret must exist only
        when the kubelet pulls.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(NAMES_AHEAD):
                await self._applier.wait_for(after)
        self._sources.credentials.fetch({(first.reference, first.version) for first in firsts})
        saving = asyncio.ensure_future(self._ledger.save())
        done, _ = await asyncio.wait([saving], timeout=WRITE_AHEAD)
        if not done:
            log(logging.WARNING, "Vault is slow, so sync writes new Secrets before the ledger")
        self._applier.submit(firsts)

    def _update_ledger(self, update: UpdateLedger) -> None:
        namespace, reference = update.namespace, update.reference
        old = self._ledger.entry(namespace, reference) or LedgerEntry()
        if old.version is None and not update.forget and not self._may_record(namespace, reference):
            if self._sources.granted:
                self._ledger.put(namespace, reference, None)
            return
        new = updated(old, update)
        if update.forget or old.refused != new.refused:
            self._events.forget(namespace, reference)
        self._ledger.put(namespace, reference, None if new == LedgerEntry() else new)

    def _may_record(self, namespace: str, reference: Reference) -> bool:
        """Whether to record a refusal in Vault.

        Annotations can name anything, and that must not fill Vault. So only granted projects count, and only
        a limited number of their registries.
        """
        granted = self._sources.grants.allows(namespace, reference.project)
        return granted and has_room(self._ledger.entries.get(namespace, {}), reference)
