"""The input of a plan: the settings, and what sync knows of the cluster and of Vault. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from regcred.cluster.model import LedgerEntry, Mode, Namespace
from regcred.registry_reference import Reference
from regcred.sync.actions import Key
from regcred.sync.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of a plan."""

    cluster: str
    mode: Mode = Mode.ADMISSION
    allowed: frozenset[Mode] = frozenset(Mode)
    """The modes that the chart has set up, besides the cluster's own. A namespace may choose one by its
    label."""
    excluded: frozenset[str] = frozenset()
    """Namespaces that no admission policy changes. Sync only writes Secrets there, unless their label chooses
    a mode."""
    grace: timedelta = timedelta(minutes=10)
    """How long a Secret must be unneeded before it is removed."""
    max_removal_share: float = 0.2
    """The share of the Secrets in place that the brake lets sync remove at once."""
    removals_allowed: int = 5
    """The brake never holds this number of removals or fewer."""
    prepare: bool = False
    """Whether namespaces in mode serviceaccount get the Secrets of their exact grants before a workload
    needs them."""
    removals_confirmed: bool = False
    """Whether a person has confirmed the removals that the brake would hold."""

    def allows(self, mode: Mode) -> bool:
        """Whether a namespace may use a mode."""
        return mode is self.mode or mode in self.allowed

    def mode_of(self, namespace: Namespace) -> Mode:
        """The mode of a namespace. A mode that is not allowed counts as ``Mode.NONE``."""
        if namespace.mode and not self.allows(namespace.mode):
            return Mode.NONE
        if namespace.mode is None and namespace.name in self.excluded and self.mode is Mode.ADMISSION:
            return Mode.NONE
        return namespace.mode or self.mode


class Knowledge(StrEnum):
    """What is known about a document in Vault."""

    KNOWN = "known"
    ABSENT = "absent"
    """The document does not exist. That proves nothing: a wrong path or a restored Vault looks the same."""
    UNREADABLE = "unreadable"
    """Permission was denied, the document is broken, or Vault has been unreachable since the start."""


@dataclass(frozen=True, slots=True)
class Grants:
    """Which namespaces of this cluster may use which projects."""

    knowledge: Knowledge = Knowledge.UNREADABLE
    exact: Mapping[str, frozenset[str]] = field(default_factory=dict)
    globs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    confirmed: Mapping[str, tuple[int, datetime]] = field(default_factory=dict)
    """By project: how many held removals a platform admin has confirmed, and until when that is valid."""

    def allows(self, namespace: str, project: str) -> bool:
        """Whether a namespace may use a project."""
        return namespace in self.exact.get(project, ()) or any(
            fnmatchcase(namespace, pattern) for pattern in self.globs.get(project, ())
        )

    def confirms(self, project: str, removals: int, now: datetime) -> bool:
        """Whether this number of removals of a project is confirmed."""
        count, until = self.confirmed.get(project, (0, now))
        return removals <= count and now < until


class RegistryState(StrEnum):
    """The state of a registry in its project's index."""

    OK = "ok"
    FAILING = "failing"
    REVOKED = "revoked"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry as its project's index describes it."""

    state: RegistryState
    version: int
    """The credential's version; 0 before the first one."""
    expires_at: datetime | None = None
    refresh_at: datetime | None = None
    error: str = ""
    requested_at: datetime | None = None
    """When a person last requested a rotation or a verification."""
    traceparent: str = ""
    """The trace of the rotation that led to this state; empty if it was not traced."""
    changed_at: datetime | None = None
    """When the outcome of that rotation was known; None if it was not traced."""
    vault_restored: bool = False
    """Whether Vault was restored from an older state, so that a lower version is valid."""


@dataclass(frozen=True, slots=True)
class ProjectView:
    """What is known of a project's index.

    If it can't be read, ``registries`` keeps the last known entries.
    """

    knowledge: Knowledge
    registries: Mapping[str, Registry] = field(default_factory=dict)
    problem: str = ""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Registries whose entry can't be read, and why. ``registries`` keeps an entry that was read before."""


UNREAD = ProjectView(Knowledge.UNREADABLE, problem="not read yet")


@dataclass(frozen=True, slots=True)
class PlanInput:
    """Everything that a plan depends on."""

    now: datetime
    inventory: Inventory
    grants: Grants
    projects: Mapping[str, ProjectView]
    entries: Mapping[str, Mapping[Reference, LedgerEntry]]
    """The ledger by namespace: what is in place or refused."""
    rules: Rules
    evicting: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    """By namespace and ServiceAccount: when the first stuck Pod was evicted since the account's names
    changed."""
    in_place: int = 0
    """How many Secrets are in place, for the brake."""
    busy: frozenset[Key] = frozenset()
    """The actions that are in progress or wait for a retry."""
    blocked_removals: frozenset[Key] = frozenset()
    """The Secrets whose removal must wait. They are fewer than ``busy``, because a removal does not wait for
    the retry of a write."""
