"""A registry's definition: what its owner writes, without any secret. ``provider`` decides the model."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class BaseDefinition(BaseModel):
    """The fields that every provider's definition has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str
    description: str = ""
    """For people."""

    probe: str = ""
    """An image to check pulls with, without host (``team/app:1.0``)."""

    def content(self) -> dict[str, Any]:
        """The definition as a plain mapping, without defaults."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"provider": self.provider}
