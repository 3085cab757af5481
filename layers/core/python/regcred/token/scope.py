"""The scopes that a client requests, and the access that a token gives. Pure.

Contract: https://distribution.github.io/distribution/spec/auth/scope/ (grammar of a scope),
https://distribution.github.io/distribution/spec/auth/jwt/ (the ``access`` claim).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from regcred.errors import MalformedError

SCOPES_MAX = 20
"""The maximum number of scopes in a request. A push that mounts blobs across repositories needs two or
three."""

SCOPE_LENGTH_MAX = 512
"""The maximum length of a scope."""

ACTIONS_MAX = 8
"""The maximum number of actions in a scope."""

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_WORD = re.compile(r"[a-z]+|\*")
_TYPE = re.compile(r"[a-z0-9]+(?:\([a-z0-9]+\))?")

PULL, PUSH, DELETE, EVERYTHING = "pull", "push", "delete", "*"


@dataclass(frozen=True, slots=True)
class Scope:
    """One resource and the requested actions."""

    kind: str
    """``repository`` or ``registry``."""
    name: str
    actions: frozenset[str]


@dataclass(frozen=True, slots=True)
class ResourceActions:
    """One resource and the allowed actions."""

    kind: str
    name: str
    actions: frozenset[str]

    def claim(self) -> dict[str, Any]:
        """One entry of a token's ``access`` claim."""
        return {"type": self.kind, "name": self.name, "actions": sorted(self.actions)}


def parse_scopes(values: Iterable[str]) -> list[Scope]:
    """Read the scopes of a request. Each value of ``scope`` contains one or several, separated by spaces.

    A resource with a class, as in ``repository(plugin)``, is left out, because this registry has none of that
    kind.

    Raises:
        MalformedError: there are too many, or one does not fit the grammar.
    """
    texts: list[str] = []
    for value in values:
        if len(value) > SCOPES_MAX * (SCOPE_LENGTH_MAX + 1):
            raise MalformedError("scope: is too long", field="scope")
        texts += value.split()
    if len(texts) > SCOPES_MAX:
        raise MalformedError(f"scope: a request may have at most {SCOPES_MAX} scopes", field="scope")
    scopes = [parse_scope(text) for text in texts]
    return [scope for scope in scopes if "(" not in scope.kind]


def parse_scope(text: str) -> Scope:
    """Read one scope, ``<type>:<name>:<action>,...``. The name may contain a host with a port.

    Raises:
        MalformedError: it does not fit the grammar.
    """
    if len(text) > SCOPE_LENGTH_MAX:
        raise MalformedError(f"scope: is longer than {SCOPE_LENGTH_MAX} characters", field="scope")
    kind, _, rest = text.partition(":")
    name, _, listed = rest.rpartition(":")
    actions = listed.split(",")
    if (
        not _TYPE.fullmatch(kind)
        or not name
        or len(actions) > ACTIONS_MAX
        or not all(_WORD.fullmatch(action) for action in actions)
    ):
        raise MalformedError(
            "scope: is not of the form <type>:<name>:<actions>, as in repository:payments/web:pull",
            field="scope",
        )
    return Scope(kind, name, frozenset(actions))


def is_repository(name: str) -> bool:
    """Whether a repository can have this name: 255 characters at most, in Distribution's grammar."""
    return len(name) <= 255 and _REPOSITORY.fullmatch(name) is not None  # noqa: PLR2004 - named in the docstring


def intersect(scopes: Sequence[Scope], may: Iterable[ResourceActions]) -> list[ResourceActions]:
    """The access that a client gets: for each resource, the actions that are both requested and allowed.

    Args:
        scopes: The requested scopes.
        may: What the client may do with each of these resources.
    """
    allowed = {(access.kind, access.name): access.actions for access in may}
    granted: dict[tuple[str, str], frozenset[str]] = {}
    for scope in scopes:
        key = (scope.kind, scope.name)
        have = allowed.get(key, frozenset())
        got = have if EVERYTHING in scope.actions and EVERYTHING not in have else scope.actions & have
        if got:
            granted[key] = granted.get(key, frozenset()) | got
    return [ResourceActions(kind, name, actions) for (kind, name), actions in granted.items()]
