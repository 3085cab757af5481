"""Plans one namespace: which Secrets to write or remove, what to record, and which Events to write. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from regcred.cluster.model import UID_DIGITS, LedgerEntry, Mode, Namespace, Workload
from regcred.registry_reference import Reference
from regcred.sync.actions import Action, EmitEvent, Remove, UpdateLedger, WriteSecret
from regcred.sync.decide import GONE, Decision, decide
from regcred.sync.messages import LEFT_ALONE, REASON_OF, UNWRITTEN, Why, refusal
from regcred.sync.plan_accounts import AccountPlan, is_unattached
from regcred.sync.plan_input import UNREAD, Knowledge, PlanInput, Registry
from regcred.sync.plan_warnings import events_about, expiry_events, restart_event
from regcred.sync.prepared_requests import prepared_request
from regcred.sync.removal_brake import ACCIDENTS

NOTHING = LedgerEntry()

TRACED = timedelta(hours=1)
"""How long after a rotation a write still counts as a step of its trace."""


@dataclass(slots=True)
class Draft:
    """The actions of an unfinished plan, by their place in it."""

    notes: list[Action] = field(default_factory=list)
    firsts: list[Action] = field(default_factory=list)
    accounts: list[Action] = field(default_factory=list)
    refreshes: list[Action] = field(default_factory=list)
    removals: list[Remove] = field(default_factory=list)
    events: list[Action] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NamespacePlan:
    """The part of a plan for one namespace that exists and is not being deleted."""

    inputs: PlanInput
    namespace: Namespace
    entries: Mapping[Reference, LedgerEntry]
    draft: Draft
    everything: bool

    def make(self) -> None:
        """Add the actions for this namespace to the draft."""
        wanted: dict[Reference, list[Workload]] = {}
        for workload in self._requests():
            for reference in workload.references:
                wanted.setdefault(reference, []).append(workload)
            self.draft.events += events_about(self.inputs, self.namespace, workload)
        named = {
            reference for reference, workloads in wanted.items() if self._plan_wanted(reference, workloads)
        }
        for reference, entry in self.entries.items():
            if reference not in wanted:
                self._plan_unneeded(reference, entry)
        if self._mode is Mode.SERVICEACCOUNT and self.inputs.inventory.complete:
            accounts = AccountPlan(self.inputs, self.namespace, self.entries)
            self.draft.accounts += accounts.actions(wanted, named)

    def _requests(self) -> list[Workload]:
        inputs = self.inputs
        prepared = prepared_request(inputs.rules, inputs.grants, inputs.projects, self.namespace)
        return inputs.inventory.requests(self.namespace.name) + ([prepared] if prepared else [])

    @property
    def _mode(self) -> Mode:
        return self.inputs.rules.mode_of(self.namespace)

    def _current(self, entry: LedgerEntry) -> LedgerEntry:
        """The entry, or an empty one if it is about an earlier namespace with the same name."""
        return entry if entry.version is None or entry.uid == self.namespace.uid[:UID_DIGITS] else NOTHING

    def _is_busy(self, reference: Reference) -> bool:
        return (self.namespace.name, reference) in self.inputs.busy

    def _registry(self, reference: Reference) -> Registry | None:
        return self.inputs.projects.get(reference.project, UNREAD).registries.get(reference.registry)

    def _plan_wanted(self, reference: Reference, workloads: list[Workload]) -> bool:
        """Plan a reference that a workload requests.

        Return whether its Secret is in place and stays, or is about to be created.
        """
        entry = self._current(self.entries.get(reference, NOTHING))
        decision = decide(self.inputs, self.namespace, reference, entry)
        if decision.why is not None:
            self._refuse(reference, entry, decision, workloads)
            if decision.remove and entry.version is not None:
                self._remove(reference, decision.why)
        elif decision.version is not None:
            self._provide(reference, entry, decision.version)
            self._note_health(reference, entry, workloads)
        if not decision.remove and entry.version:
            self._warn_of_expiry(reference, workloads)
        return decision.why is None and bool(entry.version or not entry.refused)

    def _provide(self, reference: Reference, entry: LedgerEntry, version: int) -> None:
        if self._is_busy(reference):
            return
        write = WriteSecret(
            self.namespace.name,
            self.namespace.uid,
            reference,
            version,
            entry.version,
            self._trace_of(reference),
        )
        if write.first:
            if not self._awaits_accounts():
                self.draft.firsts.append(write)
        elif self._is_newer(reference, version, write.old or 0) or entry.refused in UNWRITTEN:
            self.draft.refreshes.append(write)

    def _trace_of(self, reference: Reference) -> str:
        """The trace of the rotation that causes a write; empty if the rotation is too old, or not traced."""
        registry = self._registry(reference)
        if registry is None or registry.changed_at is None or self.inputs.now - registry.changed_at > TRACED:
            return ""
        return registry.traceparent

    def _awaits_accounts(self) -> bool:
        """Whether no Pod can exist yet, because the new namespace has no ServiceAccount.

        When a ServiceAccount appears, its names go first, and then the Secret.
        """
        inventory = self.inputs.inventory
        is_known = self._mode is Mode.SERVICEACCOUNT and inventory.accounts_known
        return is_known and not inventory.accounts(self.namespace.name)

    def _note_health(self, reference: Reference, entry: LedgerEntry, workloads: list[Workload]) -> None:
        """Clear old refusals, and record what still prevents Pods from using the Secret."""
        older = [workload for workload in workloads if self._mode is Mode.ADMISSION and not workload.admitted]
        self.draft.events += [restart_event(workload, reference) for workload in older]
        refused = Why.RESTART if older else None
        denied = entry.refused == Why.NOT_ATTACHED and self._mode is Mode.SERVICEACCOUNT
        if denied and is_unattached(self.inputs, self.namespace, reference, workloads):
            refused = Why.NOT_ATTACHED
        if entry.refused not in LEFT_ALONE and (entry.unused_since or entry.refused != (refused or "")):
            self.draft.notes.append(UpdateLedger(self.namespace.name, reference, refused=refused))

    def _is_newer(self, reference: Reference, version: int, placed: int) -> bool:
        """Whether a version replaces the one in place.

        A lower version is a stale read of the index, unless Vault was restored.
        """
        registry = self._registry(reference)
        return version > placed or (registry is not None and registry.vault_restored and version != placed)

    def _refuse(
        self, reference: Reference, entry: LedgerEntry, decision: Decision, workloads: list[Workload]
    ) -> None:
        why = decision.why
        if why is None or (why is Why.UNREADABLE and entry.version is not None):
            return
        if entry.refused != why:
            self.draft.notes.append(UpdateLedger(self.namespace.name, reference, refused=why))
        if why is not Why.UNREADABLE:
            cluster = self.inputs.rules.cluster
            note = refusal(why, reference, self.namespace.name, cluster=cluster, detail=decision.detail)
            self.draft.events += [
                EmitEvent(
                    workload,
                    REASON_OF[why],
                    note,
                    reference,
                    why,
                    cause=decision.detail,
                    again=bool(entry.version),
                )
                for workload in workloads
            ]

    def _plan_unneeded(self, reference: Reference, entry: LedgerEntry) -> None:
        current = self._current(entry)
        if current.version is None:
            self.draft.notes.append(UpdateLedger(self.namespace.name, reference, forget=True))
            return
        grants = self.inputs.grants
        if grants.knowledge is Knowledge.KNOWN and not grants.allows(self.namespace.name, reference.project):
            self._remove(reference, Why.NOT_GRANTED)
            return
        if not self.inputs.inventory.complete:
            return
        registry = self._registry(reference)
        if registry is not None and registry.state in GONE:
            self._remove(reference, GONE[registry.state])
            return
        now = self.inputs.now
        since = datetime.fromisoformat(current.unused_since) if current.unused_since else now
        if not current.unused_since:
            self.draft.notes.append(UpdateLedger(self.namespace.name, reference, unused_since=now))
        if now >= since + self.inputs.rules.grace and self._can_be_detached():
            self._remove(reference, Why.UNNEEDED)

    def _can_be_detached(self) -> bool:
        """Whether it is known which ServiceAccounts name the Secret. Until then, the Secret stays."""
        return self._mode is not Mode.SERVICEACCOUNT or self.inputs.inventory.accounts_known

    def _remove(self, reference: Reference, why: Why) -> None:
        if not self.everything and why in ACCIDENTS:
            return  # the brake needs a plan for all namespaces
        if (self.namespace.name, reference) in self.inputs.blocked_removals:
            return
        accounts = self.inputs.inventory.accounts(self.namespace.name)
        naming = [name for name, account in accounts.items() if reference.secret_name in account.ours]
        self.draft.removals.append(Remove(self.namespace.name, reference, why, tuple(naming)))

    def _warn_of_expiry(self, reference: Reference, workloads: list[Workload]) -> None:
        registry = self._registry(reference)
        if self.everything and registry is not None:
            self.draft.events += expiry_events(registry, reference, workloads, self.inputs.now)
