"""The documents that sync writes: what is in place in each cluster."""

from __future__ import annotations

from regcred.reference import check_label
from regcred.vault.records.paths import (
    status_path,
)
from regcred.vault.records.status import Status
from regcred.vault.store.base import TypedRecords, Versioned


class StatusRecords(TypedRecords):
    """What is in place in each cluster."""

    def status(self, cluster: str, project: str) -> Versioned[Status] | None:
        """What is in place in a cluster, and its ledger."""
        return self._record(status_path(cluster, project), Status)

    def status_projects(self, cluster: str) -> list[str]:
        """The names of all projects that have anything in place in a cluster."""
        folder = f"status/{check_label(cluster, field='cluster')}"
        return [name for name in self._kv.list(folder) if not name.endswith("/")]

    def status_version(self, cluster: str, project: str) -> int:
        """The version of a status document."""
        return self._kv.version(status_path(cluster, project))

    def write_status(self, cluster: str, project: str, status: Status, *, cas: int) -> int:
        """Write what is in place."""
        return self._kv.write(status_path(cluster, project), status.fields(), cas=cas)
