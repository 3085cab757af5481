"""The data that one person may see. It is read with that person's token and cached for a few seconds.

Data that one token has read is never shown to another. Each token has its own cache. A list may be some seconds old, and shows
when it was read. A person's own change through the console refreshes the next list.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from regcred.console.interface import ConsoleAccess, ConsoleOptions, Who
from regcred.errors import MalformedError, RefusedError, RegcredError, TransientError
from regcred.reference import Reference, check_label
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store, Versioned

T = TypeVar("T")

READERS = 8
"""How many documents of one person are read concurrently."""

GROUPS = ("regcred-admins-", "regcred-readers-")
"""Policies that reveal a token's projects, if it may not list them all."""

PENDING = "pending"
"""The state of a new registry without an outcome."""


@dataclass(frozen=True, slots=True)
class RegistryRow:
    """One registry: its index entry, and each cluster's status."""

    reference: Reference
    entry: IndexEntry | None
    defined: bool
    places: Mapping[str, Placement] = field(default_factory=dict)
    """By cluster."""

    @property
    def state(self) -> str:
        """The state in the word for people."""
        return self.entry.state.value if self.entry else PENDING

    @property
    def version(self) -> int:
        """The version of the credential; 0 if there is none."""
        return self.entry.version if self.entry else 0

    @property
    def expires_at(self) -> datetime | None:
        """When the current credential expires; None if there is none or it does not expire."""
        if self.entry is None or not self.version or self.entry.state in (State.REVOKED, State.REMOVED):
            return None
        return self.entry.expires_at

    @property
    def namespaces(self) -> int:
        """The number of namespaces where it is in place."""
        return sum(len(names) for place in self.places.values() for names in place.placed.values())

    @property
    def used_in(self) -> dict[str, int]:
        """By cluster: the number of namespaces where it is in place."""
        counts = {name: sum(map(len, place.placed.values())) for name, place in self.places.items()}
        return {name: count for name, count in sorted(counts.items()) if count}

    @property
    def behind(self) -> dict[str, int]:
        """By cluster: the number of namespaces with an older version than the newest."""
        older = {
            cluster: count - len(self.places[cluster].placed.get(self.version, ()))
            for cluster, count in self.used_in.items()
        }
        return {cluster: count for cluster, count in older.items() if count}

    def expired(self, now: datetime) -> bool:
        """Whether the current credential has expired."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class ProjectOverview:
    """One project, as far as the token may see it."""

    name: str
    entries: Mapping[str, IndexEntry] = field(default_factory=dict)
    defined: tuple[str, ...] = ()
    policy: ProjectPolicy | None = None
    statuses: Mapping[str, Status] = field(default_factory=dict)
    """By cluster."""
    problems: tuple[str, ...] = ()
    """What could not be read, and why."""

    def rows(self) -> Iterable[RegistryRow]:
        """Its registries. A removed registry that is in place nowhere is left out."""
        for name in sorted({*self.defined, *self.entries}):
            row = self.row(name)
            if row.state != State.REMOVED or row.namespaces:
                yield row

    def row(self, name: str) -> RegistryRow:
        """One registry."""
        places = {
            cluster: place
            for cluster, status in self.statuses.items()
            if (place := status.registries.get(name))
        }
        return RegistryRow(Reference(self.name, name), self.entries.get(name), name in self.defined, places)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything that the token may see."""

    read_at: datetime
    projects: Mapping[str, ProjectOverview]
    rows: tuple[RegistryRow, ...]
    clusters: tuple[str, ...]
    """The clusters of these projects, and all others that the token may list."""
    whole: bool
    """Whether the token may list all projects, as platform admins may."""
    policies: frozenset[str] = frozenset()
    """The policies of the token when this was read."""

    @property
    def problems(self) -> list[str]:
        """What could not be read."""
        return [text for project in self.projects.values() for text in project.problems]


class Memory:
    """A cache of documents by version, so that an unchanged document is neither read nor parsed again."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, ...], Versioned[object]] = {}

    def read(
        self, key: tuple[str, ...], version: Callable[[], int], read: Callable[[], Versioned[T] | None]
    ) -> T | None:
        """The document of this key. Vault is asked for its version each time."""
        held = self._held.get(key)
        if held is not None and held.version == version():
            return held.value  # type: ignore[return-value] # the key says of which type it is
        found = read()
        if found is None:
            self._held.pop(key, None)
            return None
        self._held[key] = found
        return found.value


def read_project(store: Store, name: str, memory: Memory) -> ProjectOverview:
    """Read one project. Things that the token may not read are left out. Broken ones are reported.

    Raises:
        TransientError: Vault can't be reached.
        RefusedError: The token may not see any of it.
    """
    problems: list[str] = []
    refused = 0

    def part(what: str, read: Callable[[], T], empty: T) -> T:
        nonlocal refused
        try:
            return read()
        except RefusedError:
            refused += 1
        except MalformedError as error:
            problems.append(f"{what}: {error}")
        return empty

    index = part(
        f"the index of {name}",
        lambda: memory.read(("index", name), lambda: store.index_version(name), lambda: store.index(name)),
        None,
    )
    none: list[str] = []
    defined = part(f"the registries of {name}", lambda: store.registries(name), none)
    held = part(f"the bounds of {name}", lambda: store.project(name), None)
    if refused == len(("index", "registries", "bounds")):
        raise RefusedError(f"this token may see nothing of project {name}")
    policy = held.value if held else None
    statuses = {
        cluster: status
        for cluster in (policy.clusters if policy else ())
        if (status := part(f"{name} in {cluster}", lambda c=cluster: _status(store, memory, c, name), None))  # type: ignore[misc]
    }
    return ProjectOverview(
        name,
        dict(index.registries) if index else {},
        tuple(label for label in defined if _is_label(label)),
        policy,
        statuses,
        tuple(problems),
    )


def _status(store: Store, memory: Memory, cluster: str, project: str) -> Status | None:
    return memory.read(
        ("status", cluster, project),
        lambda: store.status_version(cluster, project),
        lambda: store.status(cluster, project),
    )


def _is_label(text: str) -> bool:
    try:
        check_label(text, field="name")
    except MalformedError:
        return False
    return True


def visible_projects(store: Store, who: Who) -> tuple[list[str], bool]:
    """The projects that a token may see, and whether these are all projects.

    If a token may not list projects, the names of its policies reveal them.
    """
    try:
        names = {*store.projects(), *store.project_policies()}
    except RefusedError:
        named = {
            policy.removeprefix(prefix)
            for policy in who.policies
            for prefix in GROUPS
            if policy.startswith(prefix)
        }
        return sorted(filter(_is_label, named)), False
    return sorted(filter(_is_label, names)), True


class Reader:
    """The cached data of one token."""

    def __init__(self, access: ConsoleAccess, settings: ConsoleOptions, now: Callable[[], datetime]) -> None:
        self.access = access
        self._settings = settings
        self._now = now
        self._memory = Memory()
        self._lock = threading.Lock()
        self._fleet: Fleet | None = None
        self._reading = False
        self._changes = 0

    def fleet(self, who: Who) -> Fleet:
        """All data, at most some seconds old. Older data is refreshed in the background.

        Raises:
            TransientError: Vault can't be reached.
        """
        fleet = self._fleet
        age = self._now() - fleet.read_at if fleet else None
        if fleet is None or age is None or age >= self._settings.stale or fleet.policies != who.policies:
            return self._read(who)
        if age >= self._settings.fresh:
            self._read_later(who)
        return fleet

    def project(self, name: str) -> ProjectOverview:
        """One project, read now.

        Raises:
            RefusedError: The token may not see any of it.
            TransientError: Vault can't be reached.
        """
        return read_project(self.access.store, name, self._memory)

    def forget(self) -> None:
        """Read again next time, because the person has changed something."""
        self._changes += 1
        self._fleet = None

    def _read(self, who: Who) -> Fleet:
        read_at, changes = self._now(), self._changes
        store = self.access.store
        names, whole = visible_projects(store, who)
        with ThreadPoolExecutor(READERS) as pool:
            found = list(pool.map(lambda name: _readable(store, name, self._memory), names))
        projects = {project.name: project for project in found if project}
        clusters = {
            name for project in projects.values() for name in (project.policy or ProjectPolicy()).clusters
        }
        if whole:
            clusters |= set(filter(_is_label, store.clusters()))
        rows = tuple(row for project in projects.values() for row in project.rows())
        fleet = Fleet(read_at, projects, rows, tuple(sorted(clusters)), whole, who.policies)
        if changes == self._changes:
            self._fleet = fleet
        return fleet

    def _read_later(self, who: Who) -> None:
        with self._lock:
            if self._reading:
                return
            self._reading = True

        def read() -> None:
            try:
                self._read(who)
            except RegcredError:
                pass  # the next request reads it itself, and reports the error
            finally:
                self._reading = False

        threading.Thread(target=read, daemon=True, name="console-reader").start()


def _readable(store: Store, name: str, memory: Memory) -> ProjectOverview | None:
    try:
        return read_project(store, name, memory)
    except RefusedError:
        return None
    except TransientError:
        raise
    except RegcredError as error:
        return ProjectOverview(name, problems=(f"project {name}: {error}",))
