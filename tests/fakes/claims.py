"""The claim on the slots of one registry, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from regcred.credential import Credential
from regcred.errors import ConflictError
from regcred.registry.interface import Slots


@dataclass
class Vault:
    """The two documents of one registry, written by check-and-set."""

    slots: Slots = field(default_factory=Slots)
    rotation: int = 0
    credential: Credential | None = None
    version: int = 0


class Held:
    """A claim on the rotation document. To take the claim, it writes the document."""

    def __init__(self, vault: Vault, step: Callable[[], None]) -> None:
        vault.rotation += 1
        self._vault, self._version, self._slots, self._step = vault, vault.rotation, vault.slots, step

    def read(self) -> Slots:
        return self._slots

    def latest(self) -> Slots:
        return self._vault.slots

    def write(self, slots: Slots) -> None:
        self._step()
        if self._vault.rotation != self._version:
            raise ConflictError("another run took over")
        self._vault.slots = self._slots = slots
        self._vault.rotation = self._version = self._version + 1
        self._step()
