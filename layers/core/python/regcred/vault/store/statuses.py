"""The documents that sync writes: what is in place in each cluster."""

from __future__ import annotations

from dataclasses import dataclass

from regcred.registry_reference import check_label
from regcred.vault.records.paths import (
    status_path,
)
from regcred.vault.records.status import PARTS_MAX, Status
from regcred.vault.store.base import TypedRecords, Versioned


@dataclass(frozen=True, slots=True)
class VersionedStatus(Versioned[Status]):
    """A status with the versions of all its documents."""

    others: tuple[int, ...] = ()
    """The versions of the documents after the first."""


class StatusRecords(TypedRecords):
    """What is in place in each cluster."""

    def status(self, cluster: str, project: str) -> VersionedStatus | None:
        """What is in place in a cluster, joined from all documents of the status."""
        found = self._record(status_path(cluster, project), Status)
        if found is None:
            return None
        more = range(1, min(found.value.parts, PARTS_MAX))
        others = [self._record(status_path(cluster, project, part), Status) for part in more]
        whole = (
            Status.joined([found.value, *(other.value for other in others if other)])
            if others
            else found.value
        )
        versions = tuple(other.version if other else 0 for other in others)
        return VersionedStatus(whole, found.version, others=versions)

    def status_projects(self, cluster: str) -> list[str]:
        """The names of all projects that have anything in place in a cluster."""
        folder = f"status/{check_label(cluster, field='cluster')}"
        return [name for name in self._kv.list(folder) if not name.endswith("/")]

    def status_version(self, cluster: str, project: str) -> int:
        """The version of a status document."""
        return self._kv.version(status_path(cluster, project))

    def write_status(
        self, cluster: str, project: str, status: Status, *, cas: int, others: tuple[int, ...] = ()
    ) -> VersionedStatus:
        """Write what is in place, as one document or several.

        New documents are written before the others, because namespaces move to them from old ones. Then the
        first document is written. If several writers compete, all but one stop there.

        Args:
            cluster: The cluster.
            project: The project.
            status: What is in place.
            cas: The version of the first document.
            others: The versions of the other documents.

        Returns:
            The status with its new versions.

        Raises:
            ConflictError: another sync has written one of the documents.
        """
        first, *more = status.documents(1 + len(others))
        versions = list(others)
        for number in range(len(others) + 1, len(more) + 1):
            path = status_path(cluster, project, number)
            versions.append(self._kv.write(path, more[number - 1], cas=self._kv.version(path)))
        version = self._kv.write(status_path(cluster, project), first, cas=cas)
        for number, old in enumerate(others, 1):
            path = status_path(cluster, project, number)
            versions[number - 1] = self._kv.write(path, more[number - 1], cas=old)
        return VersionedStatus(status, version, others=tuple(versions))
