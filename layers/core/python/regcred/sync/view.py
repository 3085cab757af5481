"""What a plan is made from: observations and rules, nothing that can be called. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from regcred.cluster.model import LedgerEntry, Mode, Namespace
from regcred.reference import Reference
from regcred.sync.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of a plan."""

    cluster: str
    mode: Mode = Mode.ADMISSION
    allowed: frozenset[Mode] = frozenset(Mode)
    """What a namespace may choose by its label besides the cluster's mode: what the chart has set up."""
    excluded: frozenset[str] = frozenset()
    """Namespaces that no admission policy touches: unless their label says otherwise, only Secrets are made there."""
    grace: timedelta = timedelta(minutes=10)
    """How long a Secret must be unneeded before it is removed."""
    max_removal_share: float = 0.2
    """The brake: a run that would remove more than this share of what is in place removes nothing."""
    removals_allowed: int = 5
    """The brake never holds this many removals or fewer."""
    removals_confirmed: bool = False
    """Whether somebody has said that the brake may be passed."""

    def allows(self, mode: Mode) -> bool:
        """Whether a namespace may be in a mode."""
        return mode is self.mode or mode in self.allowed

    def mode_of(self, namespace: Namespace) -> Mode:
        """How Pods of a namespace get the names of their Secrets; not at all if it chose a mode that is not allowed."""
        if namespace.mode and not self.allows(namespace.mode):
            return Mode.NONE
        if namespace.mode is None and namespace.name in self.excluded and self.mode is Mode.ADMISSION:
            return Mode.NONE
        return namespace.mode or self.mode


class Knowledge(StrEnum):
    """How well a document in Vault is known."""

    KNOWN = "known"
    ABSENT = "absent"
    """There is none; that proves nothing, since a wrong path or a restored Vault looks the same."""
    UNREADABLE = "unreadable"
    """Permission denied, broken, or Vault out of reach since the start."""


@dataclass(frozen=True, slots=True)
class Grants:
    """Which namespaces of this cluster may use which projects."""

    knowledge: Knowledge = Knowledge.UNREADABLE
    exact: Mapping[str, frozenset[str]] = field(default_factory=dict)
    globs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def name(self, project: str) -> bool:
        """Whether a project is granted to anybody here."""
        return project in self.exact or project in self.globs

    def allow(self, project: str, namespace: str) -> bool:
        """Whether a namespace may use a project."""
        return namespace in self.exact.get(project, ()) or any(
            fnmatchcase(namespace, pattern) for pattern in self.globs.get(project, ())
        )


class RegistryState(StrEnum):
    """What a project's index says of a registry."""

    OK = "ok"
    FAILING = "failing"
    REVOKED = "revoked"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry as its project's index tells it."""

    state: RegistryState
    version: int
    """The credential's version; 0 before there was one."""
    expires_at: datetime | None = None
    refresh_at: datetime | None = None
    error: str = ""
    asked_at: datetime | None = None
    """When a person last asked for a rotation or a check."""
    rewound: bool = False
    """Vault was restored from an older state: a lower version is in force."""


@dataclass(frozen=True, slots=True)
class Project:
    """What is known of a project's index. When it can't be read, what was read last stays in ``registries``."""

    knowledge: Knowledge
    registries: Mapping[str, Registry] = field(default_factory=dict)
    problem: str = ""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Registries whose entry can't be read, and why; an entry that was read before stays in ``registries``."""


UNREAD = Project(Knowledge.UNREADABLE, problem="not read yet")


@dataclass(frozen=True, slots=True)
class View:
    """All that a plan depends on."""

    now: datetime
    inventory: Inventory
    grants: Grants
    projects: Mapping[str, Project]
    places: Mapping[str, Mapping[Reference, LedgerEntry]]
    """The ledger: by namespace, what is in place or refused."""
    rules: Rules
    evicting: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    """By namespace and ServiceAccount, when the first stuck Pod was evicted since its names changed."""
    in_place: int = 0
    """How many Secrets are in place, for the brake."""
    busy: Container[tuple[str, Reference | str]] = ()
    """What is being written, or waits to be tried again: a namespace and a reference, the name of a Pod, or
    :func:`regcred.sync.actions.account_key`."""
    blocks_removal: Callable[[tuple[str, Reference]], bool] | None = None
    """Whether a removal must wait; less than ``busy``, since a write that failed is no reason. ``busy`` decides without it."""
