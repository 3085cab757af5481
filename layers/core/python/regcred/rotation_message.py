"""The message from dispatch to rotate: names of registries, and reasons. It contains no credential. Pure."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from regcred.errors import MalformedError
from regcred.vault.records.document import Label, Traceparent, malformed


class RotationReason(StrEnum):
    """Why a registry needs attention.

    This is only a hint: rotate decides again, from the documents in Vault.
    """

    REVOKE = "revoke"
    """Its owner requested a revocation."""
    NEW = "new"
    DUE = "due"
    """Its refresh time has passed, or the time of its next attempt after a failure."""
    EDITED = "edited"
    REQUESTED = "requested"
    """Its owner requested a rotation or a verification."""
    CHECK = "check"
    """It is time to compare a static credential with its upstream secret and to verify it."""
    REMOVED = "removed"


CHUNK_MAX = 100
"""The maximum number of registries in one message."""

BODY_MAX = 16_384
"""The maximum length of a message's body in characters. :data:`CHUNK_MAX` registries with the longest names
take half of it."""


class RotationMessage(BaseModel):
    """One SQS message: registries of one project."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: Label
    registries: dict[Label, RotationReason] = Field(min_length=1, max_length=CHUNK_MAX)
    traceparent: Traceparent = ""
    """The step of dispatch that sent the message."""

    @classmethod
    def parse(cls, body: str) -> RotationMessage:
        """Parse a message's body.

        Raises:
            MalformedError: names the field and what is wrong with it.
        """
        if len(body) > BODY_MAX:
            raise MalformedError(
                f"message: has {len(body)} characters, but the limit is {BODY_MAX}", field="message"
            )
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise malformed(error, where="message") from None

    def body(self) -> str:
        """The message's body for :meth:`parse`. Equal messages give equal bytes."""
        ordered = self.model_copy(update={"registries": dict(sorted(self.registries.items()))})
        return ordered.model_dump_json(exclude_defaults=True)
