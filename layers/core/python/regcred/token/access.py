"""Who may do what with which repository.

Decided from what Vault says, never from what a client says of itself. Pure.
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
    """What somebody is to a project."""

    READER = "reader"
    ADMIN = "admin"


GROUPS = {"regcred-readers-": Role.READER, "regcred-admins-": Role.ADMIN}
"""By the beginning of its name, what membership of a project's group in Vault means. ``regcred platform
apply`` makes them."""

PLATFORM_ADMINS = "regcred-platform-admins"
"""The group of those who may push community images and read the catalog."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Who a client is, as Vault says."""

    readers: frozenset[str] = frozenset()
    """Projects whose images it may pull."""
    admins: frozenset[str] = frozenset()
    """Projects whose images it may push and delete as well."""
    platform_admin: bool = False
    repositories: tuple[str, ...] = ()
    """Prefixes that a login is limited to; none if empty."""


def of_groups(groups: Iterable[str]) -> Standing:
    """What a person's groups in Vault mean."""
    names = set(groups)
    by_role: dict[Role, set[str]] = {role: set() for role in Role}
    for prefix, role in GROUPS.items():
        by_role[role] |= {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    return Standing(frozenset(by_role[Role.READER]), frozenset(by_role[Role.ADMIN]), PLATFORM_ADMINS in names)


def of_project(project: str, repositories: Sequence[str]) -> Standing:
    """What a login means that was minted for a project: pulling its images, or those under some prefixes."""
    return Standing(readers=frozenset({project}), repositories=tuple(repositories))


def may(standing: Standing, scopes: Iterable[Scope], *, community: Sequence[str]) -> list[ResourceActions]:
    """What a client may do with each resource that it asks for.

    Args:
        standing: Who it is.
        scopes: What it asks for; only the resources count here.
        community: First components of repositories that everybody may pull who has any standing.
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
