"""Which registries are due, from their entries in the index. Dispatch and rotate share these rules. Pure."""

from __future__ import annotations

from datetime import datetime

from regcred.rotation_message import RotationReason
from regcred.vault.records.index import IndexEntry, State


def due(entry: IndexEntry | None, *, now: datetime) -> RotationReason | None:
    """The reason for a rotation from time and state alone; None if nothing is due.

    A revoked registry stays revoked until its owner requests a rotation. A removed registry whose definition
    was written again counts as new. Its entry stays "removed" until the first success.
    """
    if entry is None:
        return RotationReason.NEW
    if entry.state is State.REVOKED:
        return None
    if entry.state is State.REMOVED:
        return RotationReason.NEW if entry.next_attempt_at is None or entry.next_attempt_at <= now else None
    when = entry.next_attempt_at if entry.state is State.FAILING else entry.refresh_at
    return RotationReason.DUE if when is not None and when <= now else None


def edited(entry: IndexEntry, version: int) -> bool:
    """Whether the definition has changed since rotate last used it.

    This is not ``>``, because a definition that was removed and written again starts at version 1.
    """
    return entry.state is not State.REVOKED and entry.definition_version != version


def is_static(entry: IndexEntry) -> bool:
    """Whether the entry is that of a static credential without a failure."""
    return entry.state is State.OK and entry.expires_at is None
