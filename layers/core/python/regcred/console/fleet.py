"""What one person may see of the fleet: projects, registries and where they are in use. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from regcred.registry_reference import Reference
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status

T = TypeVar("T")

PENDING = "pending"
"""The state of a new registry without an outcome."""


@dataclass(frozen=True, slots=True)
class RegistryRow:
    """One registry: its index entry, and each cluster's status."""

    reference: Reference
    entry: IndexEntry | None
    defined: bool
    placements: Mapping[str, Placement] = field(default_factory=dict)
    """By cluster."""

    @property
    def state(self) -> str:
        """The state as a word."""
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
        return sum(
            len(names) for placement in self.placements.values() for names in placement.in_place.values()
        )

    @property
    def used_in(self) -> dict[str, int]:
        """By cluster: the number of namespaces where it is in place."""
        counts = {
            name: sum(map(len, placement.in_place.values())) for name, placement in self.placements.items()
        }
        return {name: count for name, count in sorted(counts.items()) if count}

    @property
    def behind(self) -> dict[str, int]:
        """By cluster: the number of namespaces with an older version than the newest."""
        older = {
            cluster: count - len(self.placements[cluster].in_place.get(self.version, ()))
            for cluster, count in self.used_in.items()
        }
        return {cluster: count for cluster, count in older.items() if count}

    def expired(self, now: datetime) -> bool:
        """Whether the current credential has expired."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(slots=True)
class Tally:
    """Counts from the status that the sync of one cluster writes about one project."""

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
        for name, placement in status.registries.items():
            entry = self.entries.get(name)
            placed = sum(map(len, placement.in_place.values()))
            tally.placed += placed
            tally.behind += placed - len(placement.in_place.get(entry.version if entry else 0, ()))
            tally.refused += sum(word not in QUIET for word in placement.refused.values())
            tally.held += len(placement.held)
        return tally

    def same_as(self, other: ProjectOverview) -> bool:
        """Whether the other was made from the same documents, so that computed values are still valid."""
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
        placements = {
            cluster: placement
            for cluster, status in self.statuses.items()
            if (placement := status.registries.get(name))
        }
        return RegistryRow(
            Reference(self.name, name), self.entries.get(name), name in self.defined, placements
        )


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
