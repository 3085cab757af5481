"""Reads and writes the records of the ``regcred/`` mount by type, over any :class:`KeyValue`.

Each module is for the documents of one writer.
"""

from __future__ import annotations

from regcred.vault.store.base import Versioned
from regcred.vault.store.outcomes import OutcomeRecords
from regcred.vault.store.platform import PlatformRecords
from regcred.vault.store.registries import RegistryRecords
from regcred.vault.store.rotations import RotationRecords
from regcred.vault.store.statuses import StatusRecords

__all__ = ["Store", "Versioned"]


class Store(PlatformRecords, RegistryRecords, RotationRecords, OutcomeRecords, StatusRecords):
    """Typed access to the whole mount.

    Raises the errors of :class:`KeyValue`, and MalformedError for a broken document.

    If a method returns None, the document is known to be absent. If that is unknown, the method raises.
    """
