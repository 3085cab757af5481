"""Remembers which Events were written, so that no owner reads the same one twice."""

from __future__ import annotations

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

Entry = tuple[Reference | None, str, str, int]
"""The reference, the uid of the object, the reason, and a number for the topic."""


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
        self._refused_before: set[tuple[str, Reference, str]] = set()
        """The refusals that the ledger contained at the start."""

    def load(self, namespace: str, reference: Reference, refused: str) -> None:
        """Remember a refusal that the ledger contained at the start."""
        self._refused_before.add((namespace, reference, refused))

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
        entry = (event.reference, about.uid, event.reason, _number(event.topic))
        if entry in written or len(written) >= PER_NAMESPACE:
            return False
        written.add(entry)
        if event.reference is None or event.why is None:
            return True
        refused_before = (about.namespace, event.reference, str(event.why)) in self._refused_before
        return not (
            refused_before
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
        before = self._refused_before & {(namespace, reference, str(why)) for why in Why}
        self._refused_before -= before
        if any(reason in MISSING for _, _, reason, _ in about) or any(
            REASON_OF.get(Why(why)) in MISSING for _, _, why in before
        ):
            self._resolved.add((namespace, reference))

    def succeed(self, namespace: str, reference: Reference) -> None:
        """Record that a Secret was written. Events about its absence are no longer true."""
        written = self._written.get(namespace, set())
        before = any((namespace, reference, str(why)) in self._refused_before for why in Why)
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
