"""Remembers which Events were written, so that no owner reads the same one twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from regcred.registry_reference import Reference
from regcred.sync.actions import EmitEvent
from regcred.sync.inventory import Inventory
from regcred.sync.messages import REASON_OF, Reason, Why

MISSING = frozenset(
    {
        Reason.NOT_GRANTED,
        Reason.NO_SUCH_REGISTRY,
        Reason.NOT_READY,
        Reason.NOT_WRITTEN,
        Reason.NAME_TAKEN,
        Reason.REVOKED,
    }
)
"""The reasons of Events that report a missing credential."""

PER_NAMESPACE = 1000
"""How many Events are remembered for one namespace. At this number, sync writes no more Events there until it
has forgotten some."""

CAUSES = 4
"""The maximum number of causes of one refusal for which a workload gets an Event. Tenants can choose the
texts, such as the name of a quota, so without a limit they could cause any number of Events. The status has
the current cause."""

FULL = -1
"""Replaces the number in an entry that marks a workload with Events about ``CAUSES`` causes."""

Entry = tuple[Reference | None, str, str, int]
"""The reference, the uid of the object, the reason, and a number for the topic and the cause."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A refusal in the ledger."""

    why: str
    cause: str
    """Empty if the ledger does not have it."""

    def is_same_as(self, event: EmitEvent) -> bool:
        """Whether an Event reports this refusal with this cause. An unknown cause matches every cause."""
        same_cause = not self.cause or not event.cause or self.cause == event.cause
        return self.why == str(event.why) and same_cause


class EventRecorder:
    """Decides whether an Event is new.

    It knows the Events that this process has written. An earlier process has written those for the refusals
    that the ledger contained at the start.

    The memory is limited for each namespace, whatever its owner creates.
    """

    def __init__(self) -> None:
        self._written: dict[str, set[Entry]] = {}
        self._resolved: set[tuple[str, Reference]] = set()
        """Secrets that an Event reported as missing, and that are no longer refused. Their next write gets an
        Event."""
        self._refused_before: dict[tuple[str, Reference], _Refusal] = {}
        """The refusals that the ledger contained at the start."""

    def load(self, namespace: str, reference: Reference, refused: str, cause: str) -> None:
        """Remember a refusal that the ledger contained at the start.

        Args:
            namespace: The namespace of the Secret.
            reference: Names the Secret.
            refused: Why the Secret was refused.
            cause: The text that explains the refusal; empty if the ledger does not have it.
        """
        self._refused_before[namespace, reference] = _Refusal(refused, cause)

    def record(self, event: EmitEvent, *, ledger_written_at: datetime | None) -> bool:
        """Remember an Event.

        Args:
            event: The Event to write.
            ledger_written_at: When the ledger of the reference's project was last written. A workload that is
                younger has not received the Event of a refusal in that ledger.

        Returns:
            Whether the Event is new and must be written.
        """
        about = event.about
        written = self._written.setdefault(about.namespace, set())
        entry = (event.reference, about.uid, event.reason, _number(event.topic + event.cause))
        if entry in written or len(written) >= PER_NAMESPACE:
            return False
        if event.cause:
            full = (event.reference, about.uid, event.reason, FULL)
            if full in written:
                return False
            if sum(other[:3] == full[:3] for other in written) + 1 == CAUSES:
                written.add(full)
        written.add(entry)
        if event.reference is None or event.why is None:
            return True
        before = self._refused_before.get((about.namespace, event.reference))
        return not (
            before
            and before.is_same_as(event)
            and ledger_written_at
            and about.created <= f"{ledger_written_at:%Y-%m-%dT%H:%M:%SZ}"
        )

    def forget(self, namespace: str, reference: Reference) -> None:
        """Forget the Events about a reference that has changed.

        If it changes back, they are written again.
        """
        written = self._written.get(namespace, set())
        about = {entry for entry in written if entry[0] == reference}
        written -= about
        before = self._refused_before.pop((namespace, reference), None)
        if any(reason in MISSING for _, _, reason, _ in about) or (
            before and REASON_OF.get(Why(before.why)) in MISSING
        ):
            self._resolved.add((namespace, reference))

    def attach(self, namespace: str, reference: Reference) -> None:
        """Record that a ServiceAccount lists a Secret. A later denial gets an Event again."""
        written = self._written.get(namespace, set())
        reasons = {Reason.NOT_ATTACHED, Reason.PLACED}
        written -= {entry for entry in written if entry[0] == reference and entry[2] in reasons}
        before = self._refused_before.get((namespace, reference))
        if before and before.why == Why.NOT_ATTACHED:
            del self._refused_before[namespace, reference]

    def succeed(self, namespace: str, reference: Reference) -> None:
        """Record that a Secret was written. Events about its absence are no longer true."""
        written = self._written.get(namespace, set())
        before = (namespace, reference) in self._refused_before
        if before or any(about == reference and reason in MISSING for about, _, reason, _ in written):
            self.forget(namespace, reference)

    def take_resolved(self, namespace: str, reference: Reference) -> bool:
        """Whether an Event reported a missing Secret that now exists. True only at the first call."""
        found = (namespace, reference) in self._resolved
        self._resolved.discard((namespace, reference))
        return found

    def tidy(self, inventory: Inventory) -> None:
        """Forget the Events of deleted workloads, and Events about annotations that are now correct."""
        self._resolved = {
            (namespace, reference)
            for namespace, reference in self._resolved
            if any(reference in workload.references for workload in inventory.requests(namespace))
        }
        for namespace, written in list(self._written.items()):
            lines = {
                workload.uid: {_number(line) for line in workload.malformed}
                for workload in inventory.requests(namespace)
            }
            written -= {
                (reference, uid, reason, topic)
                for reference, uid, reason, topic in written
                if uid not in lines or (reason == Reason.MALFORMED and topic not in lines[uid])
            }
            if not written:
                del self._written[namespace]


def _number(text: str) -> int:
    """A hash of a text that is too long to keep."""
    return hash(text)
