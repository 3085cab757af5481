"""The platform and its clusters as single objects: each is read, compared and written apart from the others.

``regcred apply`` uses this for the kinds Platform and Cluster. What an object must contain is decided by
:mod:`regcred.vault.platform.plan`, as for ``regcred platform apply``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import hvac

from regcred.errors import MalformedError
from regcred.registry_reference import is_label
from regcred.vault.kv2 import VaultKeyValue
from regcred.vault.platform import ensure_project, ignore, plan_platform
from regcred.vault.platform.declaration import ClusterTrust, Declaration, Platform
from regcred.vault.platform.observed import (
    base_resources,
    cluster_of,
    cluster_resources,
    declared_of,
    is_of_project,
    trust_of,
)
from regcred.vault.platform.plan import (
    CLUSTER,
    ChangeKind,
    PlatformStep,
    desired_cluster,
    plan,
)
from regcred.vault.platform.resource import Resource, ResourceKind
from regcred.vault.platform.server import PlatformServer
from regcred.vault.platform.writer import carry_out
from regcred.vault.store import Store

OWNER = "owner"
"""The name in an entity's metadata for the source that declares the cluster."""


@dataclass(frozen=True, slots=True)
class FoundCluster:
    """A cluster that is set up in Vault."""

    trust: ClusterTrust | None
    """Who may sign in; None if what is set up is not what Regcred writes."""
    owner: str = ""
    """The source that declares it."""


@dataclass(frozen=True, slots=True)
class FleetPlatform:
    """One Vault with the rights of a platform operator."""

    vault: hvac.Client
    platform: Platform
    """What applies to all clusters: tokens, quotas, policies. Its own list of clusters is not used."""

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
        return {name: self._found(server, name) for name in sorted(wanted)}

    def declaration(self) -> tuple[Declaration, list[str]]:
        """What is set up, as a declaration without clusters, and notes about what it can't say."""
        server, platform = self._server(), self._within()
        projects = set(filter(is_label, self._store().project_policies()))
        ours = server.ours()
        held = server.observe(
            {*base_resources(), *(one for one in ours if one.kind in {ResourceKind.QUOTA, ResourceKind.ROLE})}
        )
        groups = {one: dict[str, Any]() for one in ours if one.kind is ResourceKind.GROUP}
        return declared_of({**groups, **held}, platform, projects)

    def platform_steps(self, on_unreadable: Callable[[str], None] = ignore) -> list[PlatformStep]:
        """What must change so that the platform is as declared, apart from its clusters.

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

    def cluster_steps(self, name: str, trust: ClusterTrust, owner: str = "") -> list[PlatformStep]:
        """What must change so that a cluster is as declared.

        Args:
            name: The cluster.
            trust: Who may sign in.
            owner: The source to record; empty to keep what is recorded.
        """
        return self._steps(self._server(), name, trust, owner)

    def write_platform(self) -> None:
        """Set up the platform, apart from its clusters."""
        carry_out(self._server(), self.platform_steps(), prune=True)

    def write_cluster(self, name: str, trust: ClusterTrust, owner: str = "") -> None:
        """Set up a cluster; see :meth:`cluster_steps`."""
        server = self._server()
        carry_out(server, self._steps(server, name, trust, owner), prune=True)

    def remove_cluster(self, name: str) -> None:
        """Remove a cluster's sign-in and its entity, which takes it out of all groups."""
        server = self._server()
        held = server.observe(
            resource
            for resource in cluster_resources(self._within(), name)
            if resource.kind in {ResourceKind.METHOD, ResourceKind.ENTITY, ResourceKind.QUOTA}
        )
        carry_out(server, plan(held, {}), prune=True)

    def ensure_project(self, project: str) -> list[PlatformStep]:
        """See :func:`regcred.vault.platform.ensure_project`."""
        return ensure_project(self.vault, self.platform, project)

    def join(self, clusters: Iterable[str]) -> None:
        """Put new clusters into the groups of the projects that name them."""
        new, store = set(clusters), self._store()
        for project in store.project_policies():
            try:
                found = store.project(project)
            except MalformedError:
                continue
            if found and new & set(found.value.clusters):
                self.ensure_project(project)

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
        held = server.observe(cluster_resources(self._within(), name))
        entity = held.get(Resource(ResourceKind.ENTITY, f"{CLUSTER}{name}"), {})
        return FoundCluster(trust_of(held, name), str(entity.get(OWNER) or ""))

    def _server(self) -> PlatformServer:
        return PlatformServer(self.vault, quotas=self._within().has_quotas)

    def _within(self) -> Platform:
        return self.platform.within(str(self.vault.adapter.namespace or ""))

    def _store(self) -> Store:
        return Store(VaultKeyValue(self.vault, mount=self.platform.declaration.mount.path))
