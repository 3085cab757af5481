"""Reads which clusters are in the projects' groups of readers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from regcred.vault.platform.parallel import read_each
from regcred.vault.platform.plan import CLUSTER, project_group
from regcred.vault.platform.resource import Resource, ResourceKind
from regcred.vault.platform.server import PlatformServer


@dataclass(frozen=True, slots=True)
class ClusterMembers:
    """The clusters that may read each project's credentials, according to Vault's groups."""

    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By project: the clusters in its group of readers. A project without a group is not in the map."""
    clusters: frozenset[str] = frozenset()
    """The clusters that are set up. Only they can be members."""


def members_of(server: PlatformServer, projects: Iterable[str]) -> ClusterMembers:
    """Read the groups of these projects.

    Raises:
        RefusedError: the token may not read groups.
    """
    clusters = server.clusters()
    names = sorted(projects)

    def read(project: str) -> frozenset[str] | None:
        found = server.read(Resource(ResourceKind.GROUP, project_group(project, "project-reader")))
        if found is None:
            return None
        return frozenset(str(name).removeprefix(CLUSTER) for name in found["members"])

    groups = read_each(read, names)
    found = {name: members for name, members in groups.items() if members is not None}
    return ClusterMembers(found, clusters)
