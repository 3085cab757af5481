"""The claim on a registry's rotation, and the state of its two slots."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, SecretStr, field_serializer

from regcred.errors import ConflictError
from regcred.vault.records.document import Record


class Claim(Record):
    """The run that rotates this registry now. Another run may take over after the lease."""

    owner: str
    lease_until: AwareDatetime


class Slot(StrEnum):
    """The two slots of a static upstream that is rotated in turn."""

    A = "a"
    B = "b"


class Rotation(Record):
    """``rotations/P/R``: the claim, and the slots of an A/B upstream. A change is saved before it is made."""

    claim: Claim | None = None
    active: Slot | None = None
    slots: dict[Slot, dict[str, SecretStr]] = {}
    """By slot: what the provider needs to use and renew it, such as a user or token ID and a secret."""
    pending: Slot | None = None
    """The slot whose saved secret may or may not have been set upstream yet."""

    @field_serializer("slots", when_used="json")
    def _unwrap(self, slots: dict[Slot, dict[str, SecretStr]]) -> dict[str, dict[str, str]]:
        return {
            slot: {name: text.get_secret_value() for name, text in fields.items()}
            for slot, fields in slots.items()
        }


def take(rotation: Rotation, *, owner: str, now: datetime, lease: timedelta) -> Rotation:
    """The rotation claimed by ``owner`` until ``now + lease``. It also renews the owner's own claim.

    Pure: write the result with the version at which ``rotation`` was read. The claim is valid only if that
    write succeeds.

    Args:
        rotation: The stored rotation.
        owner: The ID of the invocation that claims the registry, such as a Lambda request ID.
        now: The time, timezone-aware.
        lease: The duration. It must exceed the remaining run time, or be renewed within it.

    Raises:
        ConflictError: Another owner's lease has not expired.
    """
    claim = rotation.claim
    if claim is not None and claim.owner != owner and claim.lease_until > now:
        raise ConflictError(
            f"another rotation has the claim until {claim.lease_until.isoformat(timespec='seconds')}; "
            "leave it to that one"
        )
    return rotation.model_copy(update={"claim": Claim(owner=owner, lease_until=now + lease)})
