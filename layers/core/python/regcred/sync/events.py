"""Remembers which Events were written, so that no owner reads the same one twice."""

from __future__ import annotations

from datetime import datetime

from regcred.reference import Reference
from regcred.sync.actions import EmitEvent
from regcred.sync.inventory import Inventory
from regcred.sync.messages import Reason, Why


class EventRecorder:
    """Decides whether an Event is new, from what this process has written and what the ledger says was written before."""

    def __init__(self) -> None:
        self._written: dict[tuple[str, Reference | None], set[tuple[str, str, str]]] = {}
        """By namespace and reference: the uid, reason and topic of each Event."""
        self._refused_before: set[tuple[str, Reference, str]] = set()
        """The refusals that the ledger held at the start: their Events were written by an earlier process."""

    def load(self, namespace: str, reference: Reference, refused: str) -> None:
        """Take over a refusal from the ledger."""
        self._refused_before.add((namespace, reference, refused))

    def record(self, event: EmitEvent, *, ledger_written_at: datetime | None) -> bool:
        """Remember an Event.

        Args:
            event: What is about to be written.
            ledger_written_at: When the ledger of the reference's project was last written. A workload that is younger
                has not had the Event of a refusal in that ledger.

        Returns:
            Whether the Event is new, so that it must be written.
        """
        about = event.about
        written = self._written.setdefault((about.namespace, event.reference), set())
        entry = (about.uid, event.reason, event.topic)
        if entry in written:
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
        """Forget the Events about a reference that has changed, so that they are written again if it changes back."""
        self._written.pop((namespace, reference), None)
        self._refused_before -= {(namespace, reference, str(why)) for why in Why}

    def tidy(self, inventory: Inventory) -> None:
        """Forget the Events of workloads that are gone, and those about annotations that are correct by now."""
        for key, written in list(self._written.items()):
            malformed = {workload.uid: workload.malformed for workload in inventory.requests(key[0])}
            self._written[key] = {
                (uid, reason, topic)
                for uid, reason, topic in written
                if uid in malformed and (reason != Reason.MALFORMED or topic in malformed[uid])
            }
            if not self._written[key]:
                del self._written[key]
