"""The documents that platform admins write: projects, grants, and which cluster is pinned to a name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from regcred.errors import MalformedError
from regcred.vault.records.declared import ClusterGrants, DelegatedGrants, ProjectPolicy
from regcred.vault.records.identity import ClusterIdentity
from regcred.vault.records.paths import (
    cluster_path,
    delegated_path,
    identity_path,
    project_path,
)
from regcred.vault.store.base import TypedRecords, Versioned, owned


class PlatformRecords(TypedRecords):
    """What projects may use, the grants of clusters, and the identities of clusters."""

    def project(self, project: str) -> Versioned[ProjectPolicy] | None:
        """What a project may use."""
        return self._record(project_path(project), ProjectPolicy)

    def project_policies(self) -> list[str]:
        """The names of all projects that platform admins have configured."""
        return [name for name in self._kv.list("platform/projects") if not name.endswith("/")]

    def change_project(
        self,
        project: str,
        change: Callable[[ProjectPolicy | None], ProjectPolicy],
        *,
        replace_unreadable: bool = False,
    ) -> ProjectPolicy:
        """Change what a project may use, safely with concurrent writers.

        Args:
            project: Its name.
            change: Returns the new document for the current one. May be called more than once.
            replace_unreadable: Whether to replace an unreadable document.
        """
        return self._update(
            project_path(project), ProjectPolicy, change, replace_unreadable=replace_unreadable
        )

    def project_version(self, project: str) -> int:
        """The version of what a project may use; 0 if there is none."""
        return self._kv.version(project_path(project))

    def write_project(self, project: str, policy: ProjectPolicy, *, cas: int, owner: str = "") -> int:
        """Set what a project may use, and its declared owner. Return the new version."""
        return self._kv.write(project_path(project), owned(policy, owner), cas=cas)

    def remove_project(self, project: str) -> None:
        """Remove what a project may use, which ends the project. Remove its registries first."""
        self._kv.delete(project_path(project))

    def cluster(self, cluster: str) -> Versioned[ClusterGrants] | None:
        """The grants of a cluster."""
        return self._record(cluster_path(cluster), ClusterGrants)

    def cluster_version(self, cluster: str) -> int:
        """The version of a cluster's grants, to poll."""
        return self._kv.version(cluster_path(cluster))

    def change_cluster(
        self,
        cluster: str,
        change: Callable[[ClusterGrants | None], ClusterGrants],
        *,
        replace_unreadable: bool = False,
    ) -> ClusterGrants:
        """Change the grants of a cluster; see :meth:`change_project`."""
        return self._update(
            cluster_path(cluster), ClusterGrants, change, replace_unreadable=replace_unreadable
        )

    def write_cluster(self, cluster: str, grants: ClusterGrants, *, cas: int, owner: str = "") -> int:
        """Set the grants of a cluster, and their declared owners."""
        return self._kv.write(cluster_path(cluster), owned(grants, owner), cas=cas)

    def clusters(self) -> list[str]:
        """The names of all clusters that have grants."""
        return [name for name in self._kv.list("platform/clusters") if not name.endswith("/")]

    def delegated(self, cluster: str, project: str) -> Versioned[DelegatedGrants] | None:
        """The grants of a cluster that a project's admins have made."""
        return self._record(delegated_path(cluster, project), DelegatedGrants)

    def delegated_version(self, cluster: str, project: str) -> int:
        """The version of these grants, to poll."""
        return self._kv.version(delegated_path(cluster, project))

    def change_delegated(
        self, cluster: str, project: str, change: Callable[[DelegatedGrants | None], DelegatedGrants]
    ) -> DelegatedGrants:
        """Change these grants; see :meth:`change_project`."""
        return self._update(delegated_path(cluster, project), DelegatedGrants, change)

    def effective_grants(self, cluster: str, project: str | None = None) -> ClusterGrants | None:
        """The grants of a cluster together with those of project admins, as sync uses them.

        Args:
            cluster: The cluster.
            project: Read only the grants of this project's admins. None reads the grants of all admins, and
                leaves out unreadable ones.

        Raises:
            MalformedError: The grants of the cluster, or those of the project's admins, can't be read.
        """
        found = self.cluster(cluster)
        if found is None:
            return None
        if project is None:
            own = {name: self._delegated_or_none(cluster, name) for name in found.value.delegated}
        else:
            own = {name: self.delegated(cluster, name) for name in found.value.delegated if name == project}
        return found.value.with_delegated({project: one.value for project, one in own.items() if one})

    def _delegated_or_none(self, cluster: str, project: str) -> Versioned[DelegatedGrants] | None:
        with suppress(MalformedError):
            return self.delegated(cluster, project)
        return None

    def identity(self, cluster: str) -> Versioned[ClusterIdentity] | None:
        """The cluster that is pinned to a name."""
        return self._record(identity_path(cluster), ClusterIdentity)

    def pin_identity(self, cluster: str, identity: ClusterIdentity) -> None:
        """Pin a cluster to a name.

        Raises:
            ConflictError: the name already has a cluster.
        """
        self._kv.write(identity_path(cluster), identity.fields(), cas=0)

    def forget_identity(self, cluster: str) -> None:
        """Free a name. The next cluster whose sync uses it is pinned to it."""
        self._kv.delete(identity_path(cluster))
