"""What follows from an action that has succeeded or failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from regcred.cluster.interface import NameTakenError
from regcred.cluster.model import Mode
from regcred.errors import RegcredError
from regcred.sync.actions import Action, EmitEvent, Remove, UpdateServiceAccount, WriteSecret
from regcred.sync.evictions import Evictions
from regcred.sync.inventory import Inventory
from regcred.sync.messages import REASON_OF, Why, refusal
from regcred.sync.view import Rules


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Brings what is known up to date after each action, and says what must be looked at again.

    Args:
        inventory: Is told what was written to ServiceAccounts.
        evictions: Is told which ServiceAccounts have changed.
        rules: The settings.
        touch: Has namespaces looked at again.
        emit: Queues an Event unless it was written before.
    """

    inventory: Inventory
    evictions: Evictions
    rules: Rules
    touch: Callable[[Iterable[str]], None]
    emit: Callable[[EmitEvent], None]

    def after(self, action: Action, error: RegcredError | None) -> None:
        """Act on the outcome of an action."""
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
        if isinstance(action, WriteSecret) and isinstance(error, NameTakenError):
            self._report_clash(action)

    def _report_clash(self, action: WriteSecret) -> None:
        note = refusal(Why.CLASH, action.reference, action.namespace, cluster=self.rules.cluster)
        for workload in self.inventory.requests(action.namespace):
            if action.reference in workload.references:
                self.emit(EmitEvent(workload, REASON_OF[Why.CLASH], note, action.reference, Why.CLASH))

    def _continues(self, action: Action) -> bool:
        """Whether a success may leave something to do: a Secret that is in place can be named in ServiceAccounts."""
        if not isinstance(action, WriteSecret):
            return True
        namespace = self.inventory.namespaces.get(action.namespace)
        return namespace is not None and self.rules.mode_of(namespace) is Mode.SERVICEACCOUNT

    def _update_names(
        self, namespace: str, account: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> None:
        """Take note of what was written to a ServiceAccount; its watch confirms it later."""
        known = self.inventory.accounts(namespace).get(account)
        if known is not None:
            ours = {*known.ours, *add} - set(remove)
            self.inventory.put(replace(known, ours=tuple(sorted(ours))))
