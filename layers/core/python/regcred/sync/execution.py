"""Starts a plan: writes the ledger where a write must come first, then queues the changes to the cluster."""

from __future__ import annotations

import asyncio
import logging

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

    async def begin(self, plan: Plan) -> None:
        """Record changes of the ledger, then queue the writes and the Events."""
        changes: list[ClusterAction] = []
        events: list[EmitEvent] = []
        for action in plan.actions:
            match action:
                case UpdateLedger():
                    self._update_ledger(action)
                case EmitEvent():
                    if self._workload_events.record(action):
                        events.append(action)
                case _:
                    changes.append(action)
        for change in changes:
            if isinstance(change, EvictPod):
                self._evictions.begin(change.namespace, change.account, self._clock())
        # Names go first: controllers create Pods as soon as a workload exists, and a Pod never gets a name
        # that its ServiceAccount gets later. Names leave no Secret behind, so they need no ledger entry.
        names = [change for change in changes if isinstance(change, UpdateServiceAccount)]
        self._applier.submit(names)
        await self._enter([change for change in changes if isinstance(change, WriteSecret) and change.first])
        self._applier.submit(change for change in changes if not isinstance(change, UpdateServiceAccount))
        self._workload_events.submit(events)

    def repair(self, action: WriteSecret) -> None:
        """Queue a repair, unless it has become unnecessary."""
        if is_useful(action, self._ledger, self._sources.projects, self._applier):
            self._applier.submit([action])

    async def _enter(self, firsts: list[WriteSecret]) -> None:
        """Enter first projections into the ledger, so that a crash leaves no unknown Secret.

        Meanwhile read their credentials.
        """
        if not firsts:
            return
        for first in firsts:
            old = self._ledger.entry(first.namespace, first.reference)
            self._ledger.put(first.namespace, first.reference, announced(old, first.short_uid))
        self._sources.credentials.fetch({(first.reference, first.version) for first in firsts})
        saving = asyncio.ensure_future(self._ledger.save())
        done, _ = await asyncio.wait([saving], timeout=WRITE_AHEAD)
        if not done:
            log(logging.WARNING, "Vault is slow, so sync writes new Secrets before the ledger")

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
