"""The grants that project admins have made by themselves, within the bounds of the cluster's grants."""

from __future__ import annotations

from regcred.errors import MalformedError, RegcredError
from regcred.sync.document_health import DocumentHealth
from regcred.sync.vault_threads import VaultThreads
from regcred.vault.records.declared import ClusterGrants, DelegatedGrants
from regcred.vault.records.paths import delegated_path
from regcred.vault.store import Store


class Delegations:
    """Polls one document for each project that has bounds.

    Platform admins set the bounds, so a tenant can't increase the number of documents.

    Args:
        store: The mount.
        cluster: The cluster's name in Vault.
        vault: Runs blocking calls.
        health: Records which document can't be read.
    """

    def __init__(self, store: Store, cluster: str, vault: VaultThreads, health: DocumentHealth) -> None:
        self._store = store
        self._cluster = cluster
        self._vault = vault
        self._health = health
        self._found: dict[str, tuple[int, DelegatedGrants]] = {}

    async def merged(self, record: ClusterGrants) -> ClusterGrants:
        """The grants of a cluster together with those of project admins.

        If a document can't be read, its last known content counts.

        Raises:
            RegcredError: a document has never been read, so it is unknown what is granted.
        """
        if not (record.delegated or self._found):
            return record
        for project in [name for name in self._found if name not in record.delegated]:
            del self._found[project]
            self._health.forget(delegated_path(self._cluster, project))
        for project in record.delegated:
            await self._look(project)
        return record.with_delegated({project: grants for project, (_, grants) in self._found.items()})

    async def _look(self, project: str) -> None:
        path, known = delegated_path(self._cluster, project), self._found.get(project)
        try:
            version = await self._vault(self._store.delegated_version, self._cluster, project)
            if known is None and not version:
                return  # the admins have granted nothing yet
            if known and version <= known[0]:
                # Admins can write the document, but not delete it. So an older state, or none, is a stale
                # read and not a withdrawal.
                return
            found = await self._vault(self._store.delegated, self._cluster, project)
        except MalformedError as error:
            # A document of one project must not delay the grants of other projects.
            self._health.mark_unreadable(path, error)
            return
        except RegcredError as error:
            if known is None:
                raise
            self._health.mark_unreadable(path, error)
            return
        if found:
            self._found[project] = (found.version, found.value)
        self._health.mark_readable(path)
