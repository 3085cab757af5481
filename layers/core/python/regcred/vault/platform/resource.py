"""The kinds of things that a platform has in Vault, and their names; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ResourceKind(StrEnum):
    """A kind of thing in Vault, in the order in which they must be made."""

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
    """One thing in Vault. A role's name is ``<method>/<role>``; an alias is named as its entity."""

    kind: ResourceKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


State = Mapping[Resource, Mapping[str, Any]]
"""What is, or shall be, set. Members of groups and targets of aliases are names here, not ids."""
