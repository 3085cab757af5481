"""Handles the success or failure of an action."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from regcred.cluster.interface import NameTakenError
from regcred.cluster.model import Mode
from regcred.errors import RegcredError
from regcred.reference import Reference
from regcred.sync.actions import Action, EmitEvent, Remove, UpdateServiceAccount, WriteSecret
from regcred.sync.events import EventRecorder
from regcred.sync.evictions import Evictions
from regcred.sync.inventory import Inventory
from regcred.sync.messages import REASON_OF, Reason, Why, not_removed, placed, refusal
from regcred.sync.view import Rules


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Updates the known state after each action, and marks what must be checked again.

    Args:
        inventory: Records what was written to ServiceAccounts.
        evictions: Records which ServiceAccounts have changed.
        rules: The settings.
        touch: Marks namespaces to be checked again.
        emit: Queues an Event unless it was written before.
        events: Knows which Events were written.
        words_of: Returns the message about a failure for owners; empty if there is none.
    """

    inventory: Inventory
    evictions: Evictions
    rules: Rules
    touch: Callable[[Iterable[str]], None]
    emit: Callable[[EmitEvent], None]
    events: EventRecorder
    words_of: Callable[[Action, RegcredError], str]

    def after(self, action: Action, error: RegcredError | None) -> None:
        """Handle the outcome of an action."""
        if isinstance(action, EmitEvent):
            return
        if error is not None or self._continues(action):
            self.touch((action.namespace,))
        if error is None and isinstance(action, UpdateServiceAccount):
            self.evictions.end(action.namespace, action.account)
            self._update_names(action.namespace, action.account, add=action.add, remove=action.remove)
        if error is None and isinstance(action, Remove):
            for account in action.accounts:
                self._update_names(action.namespace, account, remove=(action.reference.secret_name,))
        if isinstance(action, WriteSecret | Remove):
            self._report(action, error)

    def _report(self, action: WriteSecret | Remove, error: RegcredError | None) -> None:
        """Write Events for the owners of the workloads that ask for a Secret: what happened to it."""
        namespace, reference = action.namespace, action.reference
        if error is None:
            if isinstance(action, WriteSecret):
                self.events.succeed(namespace, reference)
                if self.events.take_resolved(namespace, reference):
                    self._emit(namespace, reference, Reason.PLACED, placed(reference, namespace))
        elif isinstance(error, NameTakenError):
            if isinstance(action, WriteSecret):
                self._refuse(action, Why.CLASH, "")
        elif (words := self.words_of(action, error)) and isinstance(action, WriteSecret):
            self._refuse(action, Why.NOT_WRITTEN, words)
        elif words:
            self._emit(namespace, reference, Reason.NOT_WRITTEN, not_removed(reference, namespace, words))

    def _refuse(self, action: WriteSecret, why: Why, detail: str) -> None:
        note = refusal(why, action.reference, action.namespace, cluster=self.rules.cluster, detail=detail)
        self._emit(action.namespace, action.reference, REASON_OF[why], note, why)

    def _emit(
        self, namespace: str, reference: Reference, reason: Reason, note: str, why: Why | None = None
    ) -> None:
        for workload in self.inventory.requests(namespace):
            if reference in workload.references:
                self.emit(EmitEvent(workload, reason, note, reference, why))

    def _continues(self, action: Action) -> bool:
        """Whether work may follow a success: ServiceAccounts can name a Secret once it is in place."""
        if not isinstance(action, WriteSecret):
            return True
        namespace = self.inventory.namespaces.get(action.namespace)
        return namespace is not None and self.rules.mode_of(namespace) is Mode.SERVICEACCOUNT

    def _update_names(
        self, namespace: str, account: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> None:
        """Record a change to a ServiceAccount. Its watch confirms the change later."""
        known = self.inventory.accounts(namespace).get(account)
        if known is not None:
            ours = {*known.ours, *add} - set(remove)
            self.inventory.put(replace(known, ours=tuple(sorted(ours))))
