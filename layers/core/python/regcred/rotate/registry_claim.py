"""The claim on a registry while a run acts on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from regcred.errors import ConflictError
from regcred.registry.interface import SlotName, Slots
from regcred.registry_reference import Reference
from regcred.vault.records.rotation import Rotation, Slot
from regcred.vault.store import Store, Versioned

log = logging.getLogger(__name__)


class HeldClaim:
    """The claim of this run on a registry, and the slots that are stored with it.

    It is the :class:`~regcred.registry.interface.SlotStore` of A/B providers.
    """

    def __init__(self, store: Store, reference: Reference, claimed: Versioned[Rotation]) -> None:
        self._store = store
        self._reference = reference
        self._rotation = claimed.value
        self._version = claimed.version

    def read(self) -> Slots:
        """The slots at the time of the claim or of this run's last write."""
        return _slots(self._rotation)

    def latest(self) -> Slots:
        """The slots that are now in Vault."""
        return _slots(self._store.rotation(self._reference).value)

    def write(self, slots: Slots) -> None:
        """Save slots.

        Raises:
            ConflictError: The claim was lost.
        """
        self._write(
            {
                "slots": {
                    Slot(slot): {name: SecretStr(value) for name, value in fields.items()}
                    for slot, fields in slots.states.items()
                },
                "active": Slot(slots.active.value) if slots.active else None,
                "pending": Slot(slots.pending.value) if slots.pending else None,
            }
        )

    def release(self) -> None:
        """Release the claim."""
        try:
            self._write({"claim": None})
        except ConflictError:
            log.warning(
                "%s: the claim expired before it was released; is the lease too short?", self._reference
            )

    def _write(self, changes: Mapping[str, Any]) -> None:
        rotation = self._rotation.model_copy(update=dict(changes))
        self._version = self._store.write_rotation(self._reference, rotation, cas=self._version)
        self._rotation = rotation


def _slots(saved: Rotation) -> Slots:
    """The slots of a rotation record, in the registry package's form."""
    return Slots(
        states={
            slot.value: {name: value.get_secret_value() for name, value in fields.items()}
            for slot, fields in saved.slots.items()
        },
        active=SlotName(saved.active.value) if saved.active else None,
        pending=SlotName(saved.pending.value) if saved.pending else None,
    )
