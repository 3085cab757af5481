"""The data that one person may see. It is read with that person's token and cached for a few seconds.

Data that one token has read is never shown to another. Each token has its own cache. A list may be some seconds old, and shows
when it was read. A person's own change through the console refreshes the next list.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Protocol, TypeVar

from regcred.console.interface import ConsoleAccess, ConsoleOptions, Who
from regcred.errors import MalformedError, RefusedError, RegcredError, TransientError
from regcred.reference import Reference, check_label
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store, Versioned

T = TypeVar("T")

READERS = 8
"""How many documents of one person are read concurrently, while that person waits."""

STATUS_AGE = 3
"""After how many times the age of a fresh list the status of a cluster is checked again for the lists."""

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


@dataclass(slots=True)
class Tally:
    """What the sync of one cluster reports about one project, in numbers."""

    placed: int = 0
    """How many Secrets are in place."""
    behind: int = 0
    """How many of these have an older version than the newest."""
    refused: int = 0
    held: int = 0
    """How many removals the brake holds."""


QUIET = frozenset({"unneeded", "public"})
"""Refusals that need no action."""


@dataclass(frozen=True)
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

    @cached_property
    def rows(self) -> tuple[RegistryRow, ...]:
        """Its registries by name. A removed registry that is in place nowhere is left out."""
        rows = map(self.row, sorted({*self.defined, *self.entries}))
        return tuple(row for row in rows if row.state != State.REMOVED or row.namespaces)

    @cached_property
    def tallies(self) -> Mapping[str, Tally]:
        """By cluster, the numbers of its status."""
        return {cluster: self._tally(status) for cluster, status in self.statuses.items()}

    def _tally(self, status: Status) -> Tally:
        tally = Tally()
        for name, place in status.registries.items():
            entry = self.entries.get(name)
            placed = sum(map(len, place.placed.values()))
            tally.placed += placed
            tally.behind += placed - len(place.placed.get(entry.version if entry else 0, ()))
            tally.refused += sum(word not in QUIET for word in place.refused.values())
            tally.held += len(place.held)
        return tally

    def same_as(self, other: ProjectOverview) -> bool:
        """Whether the other one was made from the same documents, so that all that was computed from it is still valid."""
        return (
            self.entries is other.entries
            and self.defined == other.defined
            and self.policy == other.policy
            and self.problems == other.problems
            and self.statuses.keys() == other.statuses.keys()
            and all(status is other.statuses[cluster] for cluster, status in self.statuses.items())
        )

    def row(self, name: str) -> RegistryRow:
        """One registry."""
        places = {
            cluster: place
            for cluster, status in self.statuses.items()
            if (place := status.registries.get(name))
        }
        return RegistryRow(Reference(self.name, name), self.entries.get(name), name in self.defined, places)


@dataclass(frozen=True)
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
    _made: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, what: str, make: Callable[[], T]) -> T:
        """A value that is computed from this fleet once, for all pages."""
        if what not in self._made:
            self._made[what] = make()
        found: T = self._made[what]
        return found

    @cached_property
    def by_reference(self) -> Mapping[Reference, RegistryRow]:
        """Each registry by its reference."""
        return {row.reference: row for row in self.rows}

    @property
    def problems(self) -> list[str]:
        """What could not be read."""
        return [text for project in self.projects.values() for text in project.problems]


AT_ONCE = timedelta(0)
"""The age at which a document is always checked."""


class Memory:
    """A cache of documents by version, so that an unchanged document is neither read nor parsed again."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._held: dict[tuple[str, ...], tuple[Versioned[object] | None, datetime]] = {}

    def read(
        self,
        key: tuple[str, ...],
        version: Callable[[], int],
        read: Callable[[], Versioned[T] | None],
        *,
        age: timedelta = AT_ONCE,
    ) -> T | None:
        """The document of this key. Vault is asked for its version, unless the last answer is younger than ``age``."""
        now = self._now()
        held, at = self._held.get(key, (None, None))
        if at is None or now - at >= age:
            if held is None or held.version != version():
                held = read()
            self._held[key] = held, now
        return held.value if held else None  # type: ignore[return-value] # the key says of which type it is


class Each(Protocol):
    """Calls a function for each item, in turn or concurrently."""

    def __call__(self, function: Callable[[str], T], items: Iterable[str], /) -> Iterable[T]:
        """The results in the order of the items."""


def read_project(
    store: Store, name: str, memory: Memory, *, age: timedelta = AT_ONCE, each: Each = map
) -> ProjectOverview:
    """Read one project. Things that the token may not read are left out. Broken ones are reported.

    Args:
        store: The records.
        name: The project.
        memory: The documents that were read before.
        age: How old the status of a cluster may be.
        each: Reads the statuses.

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

    def status(cluster: str) -> Status | None:
        def read() -> Status | None:
            return memory.read(
                ("status", cluster, name),
                lambda: store.status_version(cluster, name),
                lambda: store.status(cluster, name),
                age=age,
            )

        return part(f"{name} in {cluster}", read, None)

    clusters = policy.clusters if policy else ()
    statuses = dict(zip(clusters, each(status, clusters), strict=True))
    return ProjectOverview(
        name,
        index.registries if index else _NO_ENTRIES,
        tuple(label for label in defined if _is_label(label)),
        policy,
        {cluster: status for cluster, status in statuses.items() if status},
        tuple(problems),
    )


_NO_ENTRIES: Mapping[str, IndexEntry] = {}


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

    def __init__(
        self,
        access: ConsoleAccess,
        settings: ConsoleOptions,
        now: Callable[[], datetime],
        prepare: Callable[[Fleet], None] = lambda _: None,
    ) -> None:
        """Read nothing yet.

        Args:
            access: Vault with the token.
            settings: How old a list may be.
            now: Returns the time.
            prepare: Computes from a new fleet what pages need, before the first page waits for it.
        """
        self.access = access
        self._settings = settings
        self._now = now
        self._prepare = prepare
        self._memory = Memory(now)
        self._lock = threading.Lock()
        self._projects: dict[str, ProjectOverview] = {}
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
        with _concurrently() as each:
            return read_project(self.access.store, name, self._memory, age=self._settings.fresh, each=each)

    def forget(self) -> None:
        """Read again next time, because the person has changed something."""
        self._changes += 1
        self._fleet = None

    def _read(self, who: Who, each: Each | None = None) -> Fleet:
        read_at, changes = self._now(), self._changes
        store = self.access.store
        names, whole = visible_projects(store, who)
        if each is None:
            with _concurrently() as concurrently:
                found = list(concurrently(self._readable, names))
        else:
            found = list(each(self._readable, names))
        projects = {project.name: project for project in found if project}
        self._projects = projects
        clusters = {
            name for project in projects.values() for name in (project.policy or ProjectPolicy()).clusters
        }
        if whole:
            clusters |= set(filter(_is_label, store.clusters()))
        rows = tuple(row for project in projects.values() for row in project.rows)
        fleet = Fleet(read_at, projects, rows, tuple(sorted(clusters)), whole, who.policies)
        self._prepare(fleet)
        if changes == self._changes:
            self._fleet = fleet
        return fleet

    def _readable(self, name: str) -> ProjectOverview | None:
        try:
            age = self._settings.fresh * STATUS_AGE
            new = read_project(self.access.store, name, self._memory, age=age)
        except RefusedError:
            return None
        except TransientError:
            raise
        except RegcredError as error:
            return ProjectOverview(name, problems=(f"project {name}: {error}",))
        old = self._projects.get(name)
        return old if old and old.same_as(new) else new

    def _read_later(self, who: Who) -> None:
        with self._lock:
            if self._reading:
                return
            self._reading = True

        def read() -> None:
            try:
                # In turn: many threads would take the processor from the person who waits for a page.
                self._read(who, map)
            except RegcredError:
                pass  # the next request reads it itself, and reports the error
            finally:
                self._reading = False

        threading.Thread(target=read, daemon=True, name="console-reader").start()


@contextmanager
def _concurrently() -> Iterator[Each]:
    with ThreadPoolExecutor(READERS) as pool:
        yield pool.map
