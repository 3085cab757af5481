"""The work that dispatch hands to rotate: names and reasons, never a credential. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from regcred.errors import MalformedError
from regcred.vault.records.document import Label, malformed
from regcred.vault.records.index import Index, IndexEntry, State


class RotationReason(StrEnum):
    """Why a registry needs attention. This is only a hint: rotate decides again, from the documents in Vault."""

    REVOKE = "revoke"
    """Its owner asked to revoke its credential."""
    NEW = "new"
    DUE = "due"
    """Its refresh time has come, or the next attempt of a failing one."""
    EDITED = "edited"
    ASKED = "asked"
    CHECK = "check"
    """It is time to compare a static credential with its upstream secret and to verify it."""
    REMOVED = "removed"


CHUNK_MAX = 100
"""Most registries in one message."""

BODY_MAX = 16_384
"""Longest body of a message in characters: :data:`CHUNK_MAX` registries of the longest names take half of it."""


class RotationMessage(BaseModel):
    """One SQS message: registries of one project."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: Label
    registries: dict[Label, RotationReason] = Field(min_length=1, max_length=CHUNK_MAX)

    @classmethod
    def parse(cls, body: str) -> RotationMessage:
        """Read a message's body.

        Raises:
            MalformedError: names the field and what is wrong with it.
        """
        if len(body) > BODY_MAX:
            raise MalformedError(
                f"message: has {len(body)} characters, and {BODY_MAX} are allowed", field="message"
            )
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise malformed(error, where="message") from None

    def body(self) -> str:
        """The message's body, as :meth:`parse` reads it; equal messages give equal bytes."""
        ordered = RotationMessage(project=self.project, registries=dict(sorted(self.registries.items())))
        return ordered.model_dump_json()


def due(entry: IndexEntry | None, *, now: datetime) -> RotationReason | None:
    """Return what the time and state alone require; None if nothing.

    A revoked registry stays as it is until its owner asks for a rotation. A removed one whose definition is back
    is a new one, and stays removed in the index until its first success.
    """
    if entry is None:
        return RotationReason.NEW
    if entry.state is State.REVOKED:
        return None
    if entry.state is State.REMOVED:
        return RotationReason.NEW if entry.next_attempt_at is None or entry.next_attempt_at <= now else None
    when = entry.next_attempt_at if entry.state is State.FAILING else entry.refresh_at
    return RotationReason.DUE if when is not None and when <= now else None


def served(names: Iterable[str], index: Index, *, limit: int) -> list[str]:
    """The registries of a project that are rotated. New ones over the limit wait.

    A registry that has been served is never left out, so a lower limit ends no credential.

    Args:
        names: The registries that are defined.
        index: The project's index.
        limit: ``max_registries`` of ``platform/projects/P``.
    """
    names = list(names)
    entries = index.registries
    known = {
        name
        for name in names
        if name in index.marks or (name in entries and entries[name].state is not State.REMOVED)
    }
    room = 0 if index.full else max(0, limit - len(known))
    new = sorted(name for name in names if name not in known)[:room]
    within = known.union(new)
    return [name for name in names if name in within]


def want_of_room(index: Index, *, limit: int) -> str:
    """Why :func:`served` leaves registries out, and the remedy."""
    if index.full:
        return "the index of its project is full: remove registries, or put some into another project"
    return (
        f"its project may have {limit}, and has them: remove some, or ask a platform admin for more "
        "(regcred project add P --max-registries N)"
    )


def edited(entry: IndexEntry, version: int) -> bool:
    """Whether the definition has changed since rotate last acted on it.

    Not ``>``: a definition that was removed and written again starts at version 1.
    """
    return entry.state is not State.REVOKED and entry.definition_version != version


def is_static(entry: IndexEntry) -> bool:
    """Whether the entry is of a static credential without a failure."""
    return entry.state is State.OK and entry.expires_at is None
