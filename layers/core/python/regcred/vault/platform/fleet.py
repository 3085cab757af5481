"""Reads, compares and writes the platform and each of its clusters separately.

``regcred apply`` uses this for the kinds Platform and Cluster. :mod:`regcred.vault.platform.plan` decides
what Vault must contain for each, as for ``regcred platform apply``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import hvac

from regcred.errors import MalformedError
from regcred.registry_reference import is_label
from regcred.vault.kv2 import VaultKeyValue
from regcred.vault.platform import ignore, plan_platform
from regcred.vault.platform.declaration import ClusterTrust, Declaration, Platform
from regcred.vault.platform.members import ClusterMembers, members_of
from regcred.vault.platform.observed import (
    base_resources,
    cluster_of,
    cluster_resources,
    declared_of,
    is_of_project,
    trust_of,
)
from regcred.vault.platform.parallel import read_each
from regcred.vault.platform.plan import (
    CLUSTER,
    ChangeKind,
    PlatformStep,
    desired_cluster,
    plan,
)
from regcred.vault.platform.project_setup import ProjectSetup
from regcred.vault.platform.resource import Resource, ResourceKind
from regcred.vault.platform.server import PlatformServer
from regcred.vault.platform.writer import carry_out
from regcred.vault.store import Store

LISTED_FROM = 4
"""From this number of clusters or projects, listing the names in Vault saves requests."""

OWNER = "owner"
"""The key in an entity's metadata for the source that declares the cluster."""


@dataclass(frozen=True, slots=True)
class FoundCluster:
    """A cluster that is set up in Vault."""

    trust: ClusterTrust | None
    """Who may sign in; None if Regcred did not set up the cluster in this way."""
    owner: str = ""
    """The source that declares it."""


@dataclass(frozen=True, slots=True)
class FleetPlatform:
    """One Vault, with the rights of a platform operator."""

    vault: hvac.Client
    platform: Platform
    """What applies to all clusters: tokens, quotas, policies. Its list of clusters is not used."""

    def exists(self) -> bool:
        """Whether the mount exists.

        Raises:
            RefusedError: the token may not see it, or the server has no namespaces.
        """
        server = self._server()
        server.need_namespaces()
        return server.has_documents(self.platform.declaration.mount.path)

    def clusters(self, names: Iterable[str] | None = None) -> dict[str, FoundCluster]:
        """The clusters that are set up, with their owners.

        Args:
            names: Only these; None for all.

        Raises:
            RefusedError: the token may not see them.
        """
        server = self._server()
        there = {name.removeprefix(CLUSTER) for name in server.methods() if name.startswith(CLUSTER)}
        wanted = there if names is None else there & set(names)
        return read_each(lambda name: self._found(server, name), sorted(wanted))

    def declaration(self) -> tuple[Declaration, list[str]]:
        """A declaration of what is set up, without clusters, and notes about what it can't express."""
        server, platform = self._server(), self._within()
        projects = set(filter(is_label, self._store().project_policies()))
        ours = server.ours()
        found = server.observe(
            {*base_resources(), *(one for one in ours if one.kind in {ResourceKind.QUOTA, ResourceKind.ROLE})}
        )
        groups = {one: dict[str, Any]() for one in ours if one.kind is ResourceKind.GROUP}
        return declared_of({**groups, **found}, platform, projects)

    def platform_steps(self, on_unreadable: Callable[[str], None] = ignore) -> list[PlatformStep]:
        """The steps that make the platform as declared, without its clusters.

        Args:
            on_unreadable: See :func:`regcred.vault.platform.plan_platform`.
        """
        platform = self.platform.with_declaration(clusters={})
        steps = plan_platform(self.vault, platform, on_unreadable=on_unreadable)
        return [
            step
            for step in steps
            if cluster_of(step.resource, self._within()) is None
            and not (step.verb is ChangeKind.DELETE and is_of_project(step.resource))
        ]

    def cluster_steps(
        self, trusts: Mapping[str, ClusterTrust], owner: str = ""
    ) -> dict[str, list[PlatformStep]]:
        """The steps that make each cluster as declared.

        Args:
            trusts: By cluster, who may sign in.
            owner: The source that declares the clusters; empty to keep the recorded ones.
        """
        server = self._server(lists=len(trusts) >= LISTED_FROM)
        return read_each(lambda name: self._steps(server, name, trusts[name], owner), trusts)

    def write_platform(self) -> None:
        """Set up the platform, without its clusters."""
        carry_out(self._server(), self.platform_steps(), prune=True)

    def write_cluster(self, name: str, trust: ClusterTrust, owner: str = "") -> None:
        """Set up a cluster.

        Args:
            name: The cluster.
            trust: Who may sign in.
            owner: The source that declares the cluster; empty to keep the recorded one.
        """
        server = self._server()
        carry_out(server, self._steps(server, name, trust, owner), prune=True)

    def remove_cluster(self, name: str) -> None:
        """Remove a cluster's sign-in method and its entity. This also removes it from all groups."""
        server = self._server()
        found = server.observe(
            resource
            for resource in cluster_resources(self._within(), name)
            if resource.kind in {ResourceKind.METHOD, ResourceKind.ENTITY, ResourceKind.QUOTA}
        )
        carry_out(server, plan(found, {}), prune=True)

    def project_setup(self, count: int) -> ProjectSetup:
        """Create the setup for this number of projects."""
        return ProjectSetup(self.vault, self._within(), many=count >= LISTED_FROM)

    def members(self, projects: Iterable[str]) -> ClusterMembers:
        """See :func:`regcred.vault.platform.members.members_of`."""
        names = list(projects)
        return members_of(self._server(lists=len(names) >= LISTED_FROM), names)

    def unjoined(self, clusters: Collection[str], leave_out: Collection[str]) -> dict[str, list[str]]:
        """By cluster, the projects that name it, but whose group does not contain it.

        Args:
            clusters: The clusters.
            leave_out: Projects to leave out.
        """
        store = self._store()

        def named(project: str) -> frozenset[str]:
            try:
                found = store.project(project)
            except MalformedError:
                return frozenset()
            return frozenset(clusters) & set(found.value.clusters if found else ())

        projects = [name for name in store.project_policies() if is_label(name) and name not in leave_out]
        naming = {name: names for name, names in read_each(named, projects).items() if names}
        members = self.members(naming)
        missing: dict[str, list[str]] = {}
        for project, names in naming.items():
            for cluster in (names & members.clusters) - members.groups.get(project, frozenset()):
                missing.setdefault(cluster, []).append(project)
        return missing

    def join(self, clusters: Iterable[str]) -> None:
        """Add new clusters to the groups of the projects that name them."""
        new, store = set(clusters), self._store()
        projects = store.project_policies()
        setup = self.project_setup(len(projects))
        for project in projects:
            try:
                found = store.project(project)
            except MalformedError:
                continue
            if found and new & set(found.value.clusters):
                setup.ensure(project)

    def _steps(
        self, server: PlatformServer, name: str, trust: ClusterTrust, owner: str
    ) -> list[PlatformStep]:
        platform = self._within().with_declaration(clusters={name: trust})
        wanted = dict(desired_cluster(platform, name))
        if owner:
            entity = Resource(ResourceKind.ENTITY, f"{CLUSTER}{name}")
            wanted[entity] = {**wanted[entity], OWNER: owner}
        roles = {
            resource for resource in cluster_resources(platform, name) if resource.kind is ResourceKind.ROLE
        }
        return plan(server.observe({*wanted, *roles}), wanted)

    def _found(self, server: PlatformServer, name: str) -> FoundCluster:
        found = server.observe(cluster_resources(self._within(), name))
        entity = found.get(Resource(ResourceKind.ENTITY, f"{CLUSTER}{name}"), {})
        return FoundCluster(trust_of(found, name), str(entity.get(OWNER) or ""))

    def _server(self, *, lists: bool = False) -> PlatformServer:
        return PlatformServer(self.vault, quotas=self._within().has_quotas, lists=lists)

    def _within(self) -> Platform:
        return self.platform.within(str(self.vault.adapter.namespace or ""))

    def _store(self) -> Store:
        return Store(VaultKeyValue(self.vault, mount=self.platform.declaration.mount.path))
