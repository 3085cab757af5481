"""Reads the objects that files can declare from Vault."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from regcred.declare.kinds import DeclaredKind, Grant, ObjectKey
from regcred.declare.live_platform import LivePlatform
from regcred.errors import MalformedError, RefusedError
from regcred.registry.definition import BaseDefinition
from regcred.registry.parsing import parse
from regcred.registry_reference import Reference, is_label
from regcred.vault.records.declared import ClusterGrants, ProjectPolicy
from regcred.vault.records.paths import registry_path
from regcred.vault.store import Store, Versioned

T = TypeVar("T")
K = TypeVar("K")

WORKERS = 16
"""The maximum number of parallel requests to Vault."""

OWNERS_MAX = 1_000_000
"""The maximum length of a cluster's record of owners in characters."""


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A document, its version and its owner. The value is None if it can't be read."""

    value: T | None
    version: int
    owner: str = ""


@dataclass(frozen=True, slots=True)
class FoundRegistry(Found[BaseDefinition]):
    """A registry's definition."""

    has_secret: bool | None = None
    """Whether its upstream secret is in Vault; None if that was not checked or the token may not check it."""


@dataclass(frozen=True, slots=True)
class FoundGrants(Found[ClusterGrants]):
    """The grants of a cluster."""

    owners: Mapping[str, str] = field(default_factory=dict)
    """By project: the owner of its grant."""


@dataclass(frozen=True, slots=True)
class Live:
    """The objects in Vault. A requested object that is in none of the maps does not exist."""

    projects: Mapping[str, Found[ProjectPolicy]] = field(default_factory=dict)
    clusters: Mapping[str, FoundGrants] = field(default_factory=dict)
    registries: Mapping[Reference, FoundRegistry] = field(default_factory=dict)
    hidden: Mapping[str, str] = field(default_factory=dict)
    """By project whose policy the token may not read: the server's reason."""
    all_projects: bool = True
    """Whether all projects were read, so that undeclared ones may be removed."""
    notes: tuple[str, ...] = ()
    """Notes for people about objects that could not be read."""
    platform: LivePlatform = field(default_factory=LivePlatform)
    """The platform and its clusters."""


def look(
    store: Store,
    keys: Iterable[ObjectKey],
    *,
    everything: bool = False,
    projects: Iterable[str] = (),
    on_progress: Callable[[int], None] = lambda _: None,
) -> Live:
    """Read the named objects, or all that the token may read.

    Args:
        store: The records.
        keys: The objects to read.
        everything: Read all other objects too. Pruning and exporting need them.
        projects: With ``everything``: projects to read even if the token may not list projects.
        on_progress: Called with the number of registries read so far.

    Raises:
        RegcredError: see :class:`Store`. A malformed document raises no error.
    """
    keys = list(keys)
    notes: list[str] = []
    named = {key.scope for key in keys if key.kind is DeclaredKind.REGISTRY}
    policies = named | {key.name for key in keys if key.kind is DeclaredKind.PROJECT} | set(projects)
    clusters = {key.scope for key in keys if key.kind is DeclaredKind.GRANT}
    references = {key.reference for key in keys if key.kind is DeclaredKind.REGISTRY}
    all_projects, folders = False, _worth_listing(references)
    if everything:
        listed = _listed(store.project_policies, "projects", notes)
        policies, all_projects = policies | set(listed), not notes
        clusters |= set(_listed(store.clusters, "clusters", notes))
        folders |= set(_listed(store.projects, "the projects that have registries", notes)) | policies
    with ThreadPoolExecutor(WORKERS) as pool:
        folder_names = _each(pool, lambda name: _names(store, name), sorted(filter(is_label, folders)))
        references = _with_listed(references, folder_names, everything=everything)
        found_projects = _each(pool, lambda name: _project(store, name), sorted(filter(is_label, policies)))
        found_clusters = _each(pool, lambda name: _cluster(store, name), sorted(filter(is_label, clusters)))
        found = _each(pool, lambda one: _registry(store, one), sorted(references), on_progress)
    return Live(
        {name: seen for name, seen in found_projects.items() if isinstance(seen, Found)},
        {name: seen for name, seen in found_clusters.items() if seen},
        {reference: seen for reference, seen in found.items() if seen},
        {name: str(seen) for name, seen in found_projects.items() if isinstance(seen, RefusedError)},
        all_projects,
        tuple(notes),
    )


LISTED_FROM = 4
"""If at least this number of a project's registries is requested, the project's registries are listed first.
Those that are not in the list need not be read."""


def _worth_listing(references: Iterable[Reference]) -> set[str]:
    counts = Counter(reference.project for reference in references)
    return {project for project, count in counts.items() if count >= LISTED_FROM}


def _names(store: Store, project: str) -> frozenset[str] | None:
    """The names of a project's registries; None if the token may not list them."""
    try:
        return frozenset(store.registries(project))
    except RefusedError:
        return None


def _with_listed(
    references: set[Reference], folders: Mapping[str, frozenset[str] | None], *, everything: bool
) -> set[Reference]:
    """The references to read: those in the list of their project, or of a project that can't be listed.

    Raises:
        RefusedError: ``everything`` is set, and a project can't be listed.
    """
    found: set[Reference] = set()
    for reference in references:
        names = folders.get(reference.project)
        if names is None or reference.registry in names:
            found.add(reference)
    for project, names in folders.items() if everything else ():
        if names is None:
            raise RefusedError(f"your token may not list the registries of project {project}")
        found |= {Reference(project, name) for name in names if is_label(name)}
    return found


def _listed(names: Callable[[], list[str]], what: str, notes: list[str]) -> list[str]:
    try:
        return names()
    except RefusedError as error:
        notes.append(f"your token may not list {what}, so only the named ones are read ({error})")
        return []


def _each(
    pool: ThreadPoolExecutor,
    read: Callable[[K], T],
    names: list[K],
    on_progress: Callable[[int], None] = lambda _: None,
) -> dict[K, T]:
    found: dict[K, T] = {}
    for name, value in zip(names, pool.map(read, names), strict=True):
        found[name] = value
        on_progress(len(found))
    return found


def _project(store: Store, name: str) -> Found[ProjectPolicy] | RefusedError | None:
    try:
        seen = store.project(name)
    except MalformedError:
        return Found(None, store.project_version(name))
    except RefusedError as error:
        return error
    return Found(seen.value, seen.version, seen.owner) if seen else None


def _cluster(store: Store, name: str) -> FoundGrants | None:
    try:
        seen = store.cluster(name)
    except MalformedError:
        return FoundGrants(None, store.cluster_version(name))
    return FoundGrants(seen.value, seen.version, seen.owner, owners_of(seen)) if seen else None


def owners_of(seen: Versioned[ClusterGrants]) -> dict[str, str]:
    """By project: the owner of its grant; empty if the record of owners can't be read."""
    if not seen.owner or len(seen.owner) > OWNERS_MAX:
        return {}
    try:
        owners = json.loads(seen.owner)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(owners, dict):
        return {}
    return {project: str(owner) for project, owner in owners.items() if Grant.of(seen.value, project)}


def _registry(store: Store, reference: Reference) -> FoundRegistry | None:
    try:
        seen = store.definition(reference)
        if seen is None:
            return None
        definition = parse(seen.value.content(), where=registry_path(reference))
    except MalformedError:
        return FoundRegistry(None, store.definition_version(reference))
    has = None
    if definition.upstream_fields():
        try:
            has = store.upstream_version(reference) > 0
        except RefusedError:
            has = None
    return FoundRegistry(definition, seen.version, seen.owner, has)
