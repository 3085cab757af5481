"""Decides who may do what with which repository. Pure.

Only what Vault says counts, and never what a client claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from regcred.token.scope import DELETE, EVERYTHING, PULL, PUSH, ResourceActions, Scope, is_repository

NOTHING: frozenset[str] = frozenset()
READ = frozenset({PULL})
WRITE = frozenset({PULL, PUSH, DELETE})


class Role(StrEnum):
    """A person's role in a project."""

    READER = "reader"
    ADMIN = "admin"


GROUPS = {"regcred-readers-": Role.READER, "regcred-admins-": Role.ADMIN}
"""Maps the prefix of a Vault group's name to the role of the group's members.

``regcred platform apply`` creates these groups.
"""

PLATFORM_ADMINS = "regcred-platform-admins"
"""The group whose members may push community images and read the catalog."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A client's rights, according to Vault."""

    readers: frozenset[str] = frozenset()
    """The projects whose images it may pull."""
    admins: frozenset[str] = frozenset()
    """The projects whose images it may also push and delete."""
    platform_admin: bool = False
    repositories: tuple[str, ...] = ()
    """The prefixes that a login is limited to. Empty means no limit."""


def of_groups(groups: Iterable[str]) -> Standing:
    """The rights of a person, from its groups in Vault."""
    names = set(groups)
    by_role: dict[Role, set[str]] = {role: set() for role in Role}
    for prefix, role in GROUPS.items():
        by_role[role] |= {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    return Standing(frozenset(by_role[Role.READER]), frozenset(by_role[Role.ADMIN]), PLATFORM_ADMINS in names)


def of_project(project: str, repositories: Sequence[str]) -> Standing:
    """The rights of a project's login: to pull the project's images, or those under some prefixes."""
    return Standing(readers=frozenset({project}), repositories=tuple(repositories))


def may(standing: Standing, scopes: Iterable[Scope], *, community: Sequence[str]) -> list[ResourceActions]:
    """What a client may do with each resource in its request.

    Args:
        standing: The client's rights.
        scopes: The requested scopes. Their requested actions are ignored.
        community: First components of repositories that every known client may pull.
    """
    return [
        ResourceActions(scope.kind, scope.name, actions)
        for scope in scopes
        if (actions := _actions(standing, scope, community))
    ]


def _actions(standing: Standing, scope: Scope, community: Sequence[str]) -> frozenset[str]:
    if scope.kind == "registry" and scope.name == "catalog":
        return frozenset({EVERYTHING}) if standing.platform_admin else NOTHING
    project, slash, _ = scope.name.partition("/")
    if scope.kind != "repository" or not slash or not is_repository(scope.name):
        return NOTHING
    if project in community:
        return _community_actions(standing)
    if standing.repositories and not any(_under(scope.name, prefix) for prefix in standing.repositories):
        return NOTHING
    if project in standing.admins:
        return WRITE
    return READ if project in standing.readers else NOTHING


def _community_actions(standing: Standing) -> frozenset[str]:
    if standing.platform_admin:
        return WRITE
    return READ if standing.readers | standing.admins else NOTHING


def _under(name: str, prefix: str) -> bool:
    stem = prefix.rstrip("/")
    return name == stem or name.startswith(f"{stem}/")
