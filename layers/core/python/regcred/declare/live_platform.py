"""Reads the objects of the kinds Platform and Cluster from Vault."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from regcred.declare.kinds import DeclaredKind, Item, ObjectKey
from regcred.errors import RefusedError
from regcred.vault.platform.declaration import ClusterTrust, Declaration
from regcred.vault.platform.fleet import FoundCluster
from regcred.vault.platform.members import ClusterMembers
from regcred.vault.platform.plan import PlatformStep
from regcred.vault.platform.project_setup import ProjectSetup


class Operator(Protocol):
    """The rights of a platform operator in one Vault.

    See :class:`regcred.vault.platform.fleet.FleetPlatform`.
    """

    def exists(self) -> bool:
        """Whether the mount exists."""

    def clusters(self, names: Iterable[str] | None = None) -> dict[str, FoundCluster]:
        """The clusters that are set up in Vault: the named ones, or all."""

    def declaration(self) -> tuple[Declaration, list[str]]:
        """The declaration of the platform in Vault, without clusters, and notes about undeclarable parts."""

    def platform_steps(self, on_unreadable: Callable[[str], None]) -> list[PlatformStep]:
        """The changes that are needed so that the platform matches its declaration.

        ``on_unreadable`` gets a message for each project that can't be read.
        """

    def cluster_steps(
        self, trusts: Mapping[str, ClusterTrust], owner: str = ""
    ) -> Mapping[str, Sequence[PlatformStep]]:
        """By cluster, the changes that are needed so that it matches its declaration."""

    def write_platform(self) -> None:
        """Set up the platform."""

    def write_cluster(self, name: str, trust: ClusterTrust, owner: str = "") -> None:
        """Set up a cluster."""

    def remove_cluster(self, name: str) -> None:
        """Remove a cluster's sign-in and entity."""

    def project_setup(self, count: int) -> ProjectSetup:
        """Create the setup of policies and groups for this number of projects."""

    def members(self, projects: Iterable[str]) -> ClusterMembers:
        """The clusters in the groups of these projects.

        Raises:
            RefusedError: the token may not read groups.
        """

    def unjoined(self, clusters: Collection[str], leave_out: Collection[str]) -> dict[str, list[str]]:
        """By cluster, the projects that name it, but whose group does not contain it."""

    def join(self, clusters: Iterable[str]) -> None:
        """Add new clusters to the groups of the projects that name them."""


@dataclass(frozen=True, slots=True)
class LivePlatform:
    """The state of the platform and its clusters."""

    exists: bool = False
    """Whether the mount exists."""
    steps: tuple[PlatformStep, ...] = ()
    """The changes so that the platform matches its declaration."""
    clusters: Mapping[str, FoundCluster] = field(default_factory=dict)
    cluster_steps: Mapping[str, Sequence[PlatformStep]] = field(default_factory=dict)
    """By declared cluster: the changes so that it matches its declaration."""
    declaration: tuple[Declaration, list[str]] | None = None
    """For an export: see :meth:`Operator.declaration`."""
    unjoined: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By declared cluster: the undeclared projects that name it, but whose group does not contain it."""
    members: ClusterMembers | None = None
    """The clusters in the groups of the declared projects; None if the token may not read groups."""
    notes: tuple[str, ...] = ()
    """Notes for people about objects that could not be read."""


def look_at_platform(
    operator: Operator,
    wanted: Mapping[ObjectKey, Item],
    *,
    owner: str = "",
    everything: bool = False,
    export: bool = False,
) -> LivePlatform:
    """Read the declared parts of the platform and its clusters.

    Args:
        operator: The declared platform.
        wanted: All declared objects.
        owner: The owner to record; empty to record none.
        everything: Whether to read undeclared clusters too. Pruning and exporting need them.
        export: Whether to read the declaration of the platform too.

    Raises:
        RefusedError: the token may not read the declared objects.
    """
    trusts = {key.name: item.value for key, item in wanted.items() if isinstance(item.value, ClusterTrust)}
    has_platform = any(key.kind is DeclaredKind.PLATFORM for key in wanted)
    projects = {key.name for key in wanted if key.kind is DeclaredKind.PROJECT}
    members = _members(operator, projects)
    if not (trusts or has_platform or everything):
        return LivePlatform(members=members)
    notes: list[str] = []
    try:
        clusters = operator.clusters(None if everything else trusts)
        exists = operator.exists()
        return LivePlatform(
            exists=exists,
            steps=tuple(operator.platform_steps(notes.append)) if has_platform else (),
            clusters=clusters,
            cluster_steps=operator.cluster_steps(trusts, owner) if trusts else {},
            # If the files declare a Platform, its steps compare all groups.
            unjoined=operator.unjoined(trusts, projects) if trusts and exists and not has_platform else {},
            declaration=operator.declaration() if export and exists else None,
            members=members,
            notes=tuple(notes),
        )
    except RefusedError:
        if trusts or has_platform:
            raise
        return LivePlatform(
            members=members,
            notes=("your token may not read how clusters sign in, so Platform and Cluster are left out",),
        )


def _members(operator: Operator, projects: Collection[str]) -> ClusterMembers | None:
    try:
        return operator.members(projects) if projects else None
    except RefusedError:  # a token that may only write definitions
        return None
