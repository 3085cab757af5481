"""``upstream/P/R``: the upstream secret of a registry, and where it may be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

BOUND_TO = "bound_to"
"""The field that says where the secret may be sent, next to the secret's own fields. A write replaces the
whole document, so a person can't change this field and keep a secret that they can't read."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The upstream secret of a registry."""

    fields: Mapping[str, SecretStr] = field(repr=False)
    bound_to: str = ""
    """The destination that the secret was entered for; empty if unknown.

    See :func:`regcred.registry.secret_destination.destination_text`.
    """

    @classmethod
    def of(cls, document: Mapping[str, str]) -> Upstream:
        """Read the document from Vault."""
        secret = {name: SecretStr(value) for name, value in document.items() if name != BOUND_TO}
        return cls(secret, document.get(BOUND_TO, ""))

    def document(self) -> dict[str, str]:
        """The fields to write. They contain the secret, so call this only right before the write."""
        plain = {name: value.get_secret_value() for name, value in self.fields.items()}
        return {**plain, BOUND_TO: self.bound_to} if self.bound_to else plain
