"""Writes Events for the owners of workloads, each once."""

from __future__ import annotations

from collections.abc import Iterable

from regcred.registry_reference import Reference
from regcred.sync.actions import EmitEvent
from regcred.sync.event_duplicates import EventRecorder
from regcred.sync.event_sender import EventSender
from regcred.sync.inventory import Inventory
from regcred.sync.ledger import Ledger
from regcred.sync.messages import REASON_OF, Reason, Why, attached, placed, refusal


class WorkloadEvents:
    """Queues the Events that were not written before.

    Args:
        recorder: Remembers which Events were written.
        ledger: Has the time until which an earlier process may have written an Event.
        inventory: Has the workloads that request a Secret.
        sender: Writes the Events.
        cluster: The cluster's name in Vault, for the texts.
    """

    def __init__(
        self,
        recorder: EventRecorder,
        ledger: Ledger,
        inventory: Inventory,
        sender: EventSender,
        *,
        cluster: str,
    ) -> None:
        self._recorder = recorder
        self._ledger = ledger
        self._inventory = inventory
        self._sender = sender
        self._cluster = cluster

    def record(self, event: EmitEvent) -> bool:
        """Remember an Event. Return whether it is new and must be written."""
        reference = event.reference
        written_at = self._ledger.written_at.get(reference.project) if reference else None
        return self._recorder.record(event, ledger_written_at=written_at)

    def submit(self, events: Iterable[EmitEvent]) -> None:
        """Queue Events that were recorded."""
        for event in events:
            self._sender.add(event)

    def report_written(self, namespace: str, reference: Reference, *, first: bool) -> None:
        """Write an Event about a Secret that is in place, if an earlier Event reported it as missing.

        Args:
            namespace: The namespace of the Secret.
            reference: Names the Secret.
            first: Whether nothing was in place before. Then an earlier process may have written an Event
                ``NotGranted``. The ledger does not record that.
        """
        self._recorder.succeed(namespace, reference)
        note = placed(reference, namespace)
        if self._recorder.take_resolved(namespace, reference):
            self.notify_owners(namespace, reference, Reason.PLACED, note, again=True)
        elif first:
            corrects = refusal(Why.NOT_GRANTED, reference, namespace, cluster=self._cluster)
            self.submit(
                EmitEvent(workload, Reason.PLACED, note, reference, corrects=corrects, again=True)
                for workload in self._inventory.requests(namespace)
                if reference in workload.references
            )

    def report_attached(self, namespace: str, reference: Reference, account: str) -> None:
        """Write an Event about a Secret that a ServiceAccount lists now, after the cluster denied that."""
        self._recorder.attach(namespace, reference)
        self.notify_owners(namespace, reference, Reason.PLACED, attached(reference, account), again=True)

    def report_refusal(
        self, namespace: str, reference: Reference, why: Why, detail: str = "", *, again: bool = False
    ) -> None:
        """Write Events about a Secret that is not written.

        Args:
            namespace: The namespace of the Secret.
            reference: Names the Secret.
            why: Why it is not written.
            detail: The answer of the server that refuses it.
            again: Whether the refusal is new. Then the Event is written even if the same one exists.
        """
        note = refusal(why, reference, namespace, cluster=self._cluster, detail=detail)
        self.notify_owners(namespace, reference, REASON_OF[why], note, why, cause=detail, again=again)

    def notify_owners(
        self,
        namespace: str,
        reference: Reference,
        reason: Reason,
        note: str,
        why: Why | None = None,
        *,
        cause: str = "",
        again: bool = False,
    ) -> None:
        """Write an Event on each workload that requests a Secret; see :class:`EmitEvent`."""
        events = [
            EmitEvent(workload, reason, note, reference, why, topic=why or "", cause=cause, again=again)
            for workload in self._inventory.requests(namespace)
            if reference in workload.references
        ]
        self.submit(event for event in events if self.record(event))
