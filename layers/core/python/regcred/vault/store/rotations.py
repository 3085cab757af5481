"""The documents that only rotate reads: the claim and the slots of each registry."""

from __future__ import annotations

from datetime import datetime, timedelta

from regcred.registry_reference import Reference
from regcred.vault.records.paths import (
    rotation_path,
)
from regcred.vault.records.rotation import Rotation, take
from regcred.vault.store.base import TypedRecords, Versioned


class RotationRecords(TypedRecords):
    """The claims of rotations, and the slots of credentials."""

    def rotation(self, reference: Reference) -> Versioned[Rotation]:
        """The claim and the slots; an empty record at the current version if there is none."""
        found = self._current(rotation_path(reference), Rotation)
        return Versioned(found.value or Rotation(), found.version)

    def write_rotation(self, reference: Reference, rotation: Rotation, *, cas: int) -> int:
        """Write the claim and the slots, and return the version. ``cas`` is the version that was read."""
        return self._kv.write(rotation_path(reference), rotation.fields(), cas=cas)

    def claim(
        self,
        reference: Reference,
        found: Versioned[Rotation],
        *,
        owner: str,
        now: datetime,
        lease: timedelta,
    ) -> Versioned[Rotation]:
        """Claim a registry's rotation, or renew the owner's claim; see :func:`take`.

        Args:
            reference: The registry.
            found: The rotation from an earlier read.
            owner: See :func:`take`.
            now: See :func:`take`.
            lease: See :func:`take`.

        Raises:
            ConflictError: another owner has claimed it.
        """
        taken = take(found.value, owner=owner, now=now, lease=lease)
        return Versioned(taken, self.write_rotation(reference, taken, cas=found.version))

    def remove_rotation(self, reference: Reference) -> None:
        """Delete the claim and the slots of a removed registry."""
        self._kv.delete(rotation_path(reference))
