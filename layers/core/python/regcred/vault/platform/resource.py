"""The kinds of resources that a platform has in Vault, and their names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ResourceKind(StrEnum):
    """A kind of resource in Vault, in the order of creation."""

    MOUNT = "secrets engine"
    MOUNT_CONFIG = "settings of the secrets engine"
    SIGNING_KEY = "signing key"
    IDENTITY_KEY = "key of identity tokens"
    IDENTITY_ROLE = "role of identity tokens"
    POLICY = "policy"
    METHOD = "sign-in method"
    METHOD_CONFIG = "settings of the sign-in method"
    ROLE = "sign-in role"
    ENTITY = "entity"
    ALIAS = "alias of the entity"
    GROUP = "group"
    QUOTA = "quota"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource in Vault. A role's name is ``<method>/<role>``. An alias has the name of its entity."""

    kind: ResourceKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


State = Mapping[Resource, Mapping[str, Any]]
"""The current or declared values. Members of groups and targets of aliases are names, not IDs."""
