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

    Platform admins set the bounds, so their number is not a tenant's.

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
        """The grants with those of the project admins.

        A document that can't be read counts as it was last read.

        Raises:
            RegcredError: a document can't be read and never was. Then it is not known what is granted.
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
                # An older state, or none, is no withdrawal: admins can only write.
                return
            found = await self._vault(self._store.delegated, self._cluster, project)
        except MalformedError as error:
            # What the admins of a project write must not hold up the grants of the others.
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
