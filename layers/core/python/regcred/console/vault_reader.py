"""The data that one person may see. It is read with that person's token and cached for a few seconds.

Data that one token has read is never shown to another. Each token has its own cache. A list may be some
seconds old, and shows when it was read. A person's own change through the console refreshes the next list.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from regcred.console.fleet import Fleet, ProjectOverview
from regcred.console.interface import ConsoleAccess, ConsoleOptions, Who
from regcred.errors import MalformedError, RefusedError, RegcredError, TransientError
from regcred.registry_reference import check_label
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.index import IndexEntry
from regcred.vault.records.status import Status

if TYPE_CHECKING:
    from regcred.vault.store import Store, Versioned

T = TypeVar("T")

READERS = 8
"""The number of documents that are read concurrently while a person waits."""

STATUS_AGE = 3
"""For lists, a cluster's status is checked again after this multiple of a fresh list's age."""

GROUPS = ("regcred-admins-", "regcred-readers-")
"""Policies that reveal a token's projects, if it may not list them all."""

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
        """The document of this key.

        Its version in Vault is checked unless the last check is younger than ``age``.
        """
        now = self._now()
        held, at = self._held.get(key, (None, None))
        if at is None or now - at >= age:
            if held is None or held.version != version():
                held = read()
            self._held[key] = held, now
        return held.value if held else None  # type: ignore[return-value] # the key determines the type


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
        return part(f"{name} in {cluster}", lambda: _read_status(store, memory, cluster, name, age), None)

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


def _read_status(store: Store, memory: Memory, cluster: str, project: str, age: timedelta) -> Status | None:
    return memory.read(
        ("status", cluster, project),
        lambda: store.status_version(cluster, project),
        lambda: store.status(cluster, project),
        age=age,
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
                # One after another: many threads would slow down the pages that people wait for.
                self._read(who, map)
            except RegcredError:
                pass  # the next request reads again, and reports the error
            finally:
                self._reading = False

        threading.Thread(target=read, daemon=True, name="console-reader").start()


@contextmanager
def _concurrently() -> Iterator[Each]:
    with ThreadPoolExecutor(READERS) as pool:
        yield pool.map
