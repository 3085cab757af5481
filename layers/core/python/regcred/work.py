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
    """Why a registry needs attention. Only a hint: rotate decides anew from what Vault says by then."""

    REVOKE = "revoke"
    """Its owner asked for the end of its credential."""
    NEW = "new"
    DUE = "due"
    """Its refresh time has come, or the next attempt of a failing one."""
    EDITED = "edited"
    ASKED = "asked"
    CHECK = "check"
    """A static credential's turn to be compared with its upstream and verified."""
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
    """What time and state alone ask for; None if the registry can be left alone.

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
    """Of a project's registries, those that are rotated; new ones over the limit wait for room.

    What has been served before is never left out, so that a limit that is lowered ends no credential.

    Args:
        names: The registries that are defined.
        index: The project's index.
        limit: ``max_registries`` of ``platform/projects/P``.
    """
    names = list(names)
    entries = index.registries
    known = {name for name in names if name in entries and entries[name].state is not State.REMOVED}
    room = 0 if index.full else max(0, limit - len(known))
    new = sorted(name for name in names if name not in known)[:room]
    within = known.union(new)
    return [name for name in names if name in within]


def want_of_room(index: Index, *, limit: int) -> str:
    """Why registries that :func:`served` leaves out are not rotated, and the remedy."""
    if index.full:
        return "the index of its project is full: remove registries, or put some into another project"
    return (
        f"its project may have {limit}, and has them: remove some, or ask a platform admin for more "
        "(regcred project add P --max-registries N)"
    )


def edited(entry: IndexEntry, version: int) -> bool:
    """Whether the definition differs from the one last acted on.

    Not ``>``: a definition that was removed and written anew starts at version 1 again.
    """
    return entry.state is not State.REVOKED and entry.definition_version != version


def is_static(entry: IndexEntry) -> bool:
    """Whether the entry tells of a credential that never expires and is in good order."""
    return entry.state is State.OK and entry.expires_at is None
