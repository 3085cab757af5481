"""Reads grants, indexes and credentials from Vault, and keeps what sync knows of them.

A poll reads the metadata of a document, and then the document only if it has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from regcred.clock import Clock
from regcred.errors import RegcredError
from regcred.registry_reference import Reference
from regcred.sync.credential_cache import CredentialCache
from regcred.sync.credential_versions import BEHIND_FOR, CredentialVersions
from regcred.sync.delegated_grants import Delegations
from regcred.sync.document_health import DocumentHealth
from regcred.sync.logging import log
from regcred.sync.metrics import Meter
from regcred.sync.plan_input import UNREAD, Grants, Knowledge, ProjectView, Registry, RegistryState
from regcred.sync.vault_threads import VaultThreads
from regcred.vault.records.declared import ClusterGrants
from regcred.vault.records.index import Index, IndexEntry
from regcred.vault.records.paths import SIGNAL
from regcred.vault.records.revocation_signal import mark
from regcred.vault.store import Store


class Sources:
    """What the sync of one cluster knows of Vault.

    After a failed read the earlier state stays, and ``health`` has the reason.

    Args:
        store: The mount.
        cluster: The cluster's name in Vault.
        vault: Runs blocking calls.
        clock: Returns the time.
        meter: Counts reads and problems.
    """

    def __init__(self, store: Store, cluster: str, vault: VaultThreads, clock: Clock, meter: Meter) -> None:
        self._store = store
        self._cluster = cluster
        self._vault = vault
        self._clock = clock
        self._meter = meter
        self._grants_path = f"platform/clusters/{cluster}"
        self.grants = Grants()
        self.projects: dict[str, ProjectView] = {}
        self._requested: set[Reference] = set()
        """The registries that a person had rotated or verified. Their Secrets must be written again."""
        self.health = DocumentHealth(meter)
        self.versions = CredentialVersions(clock)
        self.credentials = CredentialCache(store, vault, self.versions, meter)
        self._ended: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        """By document: the version that was last read."""
        self._grants_behind: datetime | None = None
        self._record: ClusterGrants | None = None
        self._delegations = Delegations(store, cluster, vault, self.health)

    @property
    def granted(self) -> bool:
        """Whether the document of this cluster's grants exists and can be read."""
        return self.grants.knowledge is Knowledge.KNOWN

    def unreadable(self) -> list[str]:
        """Why documents can't be read. The absence of an index is not a failure."""
        return [
            problem
            for name, problem in self.health.problems.items()
            if name not in self.projects or self.projects[name].knowledge is Knowledge.UNREADABLE
        ]

    async def look_at_grants(self) -> bool:
        """Poll the grants. Return whether they changed."""
        try:
            version = await self._vault(self._store.cluster_version, self._cluster)
            if version and version == self._seen.get("") and self._record:
                return await self._take_grants(self._record, version)
            found = await self._vault(self._store.cluster, self._cluster) if version else None
        except RegcredError as error:
            self.health.mark_unreadable(self._grants_path, error)
            return False
        if found is None:
            self.health.mark_unreadable(
                self._grants_path,
                f"there is no document {self._grants_path}: is the cluster's name right, and does it have a "
                "grant (regcred grant add)?",
            )
            if self.grants.knowledge is Knowledge.UNREADABLE:
                self.grants = Grants(Knowledge.ABSENT)
                return True
            return False
        if not self._note_grants(found.version):
            return False
        return await self._take_grants(found.value, found.version)

    async def _take_grants(self, record: ClusterGrants, version: int) -> bool:
        """Use new grants, together with those of project admins. Return whether they changed."""
        try:
            merged = await self._delegations.merged(record)
        except RegcredError as error:
            self.health.mark_unreadable(self._grants_path, error)
            return False
        self.health.mark_readable(self._grants_path)
        self._seen[""], self._record = version, record
        old, self.grants = self.grants, grants_of(merged)
        return old != self.grants

    def _note_grants(self, version: int) -> bool:
        """Record the version of the grants.

        Return whether they may be used. An older version is a stale read, and not a withdrawal.
        """
        if version >= self._seen.get("", 0):
            self._grants_behind = None
            return True
        now = self._clock()
        self._grants_behind = self._grants_behind or now
        return now - self._grants_behind >= BEHIND_FOR

    async def look_at(self, project: str) -> bool:
        """Poll a project's index. Return whether anything changed.

        During each call to Vault, another task can forget the project and read it again. So use the view that
        is known after the call, not the one from before.
        """
        try:
            version = await self._vault(self._store.index_version, project)
            if version and version == self._seen.get(project) and not self.versions.is_behind(project):
                self.health.mark_readable(project)
                known = self._known(project)
                return self._replace(
                    project, ProjectView(Knowledge.KNOWN, known.registries, unreadable=known.unreadable)
                )
            found = await self._vault(self._store.index, project) if version else None
        except RegcredError as error:
            self.health.mark_unreadable(project, error)
            unreadable = replace(self._known(project), knowledge=Knowledge.UNREADABLE, problem=str(error))
            return self._replace(project, unreadable)
        if found is None:
            problem = f"project {project} has no index"
            self.health.mark_unreadable(project, problem)
            absent = replace(self._known(project), knowledge=Knowledge.ABSENT, problem=problem)
            return self._replace(project, absent)
        self.health.mark_readable(project)
        self._seen[project] = found.version
        self._report_skipped(project, found.value.skipped)
        registries = self._take_registries(project, found.value)
        return self._replace(
            project, ProjectView(Knowledge.KNOWN, registries, unreadable=found.value.skipped)
        )

    def _report_skipped(self, project: str, skipped: Mapping[str, str]) -> None:
        self._meter.set("vault_index_entries_skipped", len(skipped), project=project)
        if skipped:
            log(
                logging.WARNING,
                "entries of an index can't be read and are skipped; what is in place for them is kept",
                project=project,
                entries=len(skipped),
                problem=next(iter(skipped.values())),
            )

    async def look_at_signal(self) -> set[str]:
        """Poll the signal. Return the projects in use that have ended a credential since the last poll."""
        try:
            version = await self._vault(self._store.signal_version)
            if version == self._seen.get(SIGNAL):
                return set()
            found = await self._vault(self._store.signal) if version else None
        except RegcredError:
            return set()  # each index is polled as well
        first = SIGNAL not in self._seen
        self._seen[SIGNAL] = version
        old, self._ended = self._ended, dict(found.value.ended) if found else {}
        return (
            set()
            if first
            else {name for name in self.projects if self._ended.get(mark(name)) != old.get(mark(name))}
        )

    def take_requested(self) -> set[Reference]:
        """The registries that a person had rotated or verified since the last call."""
        taken, self._requested = self._requested, set()
        return taken

    def forget(self, project: str) -> None:
        """Forget a project that is no longer in use."""
        known = self.projects.pop(project, None)
        if known and known.unreadable:
            self._meter.set("vault_index_entries_skipped", 0, project=project)
        self.health.forget(project)
        self._seen.pop(project, None)
        self.credentials.forget(project)

    def _take_registries(self, project: str, index: Index) -> Mapping[str, Registry]:
        """The registries of an index. If an entry is stale or can't be read, the known one stays."""
        known = self._known(project).registries
        found = {}
        for name, entry in index.registries.items():
            reference = Reference(project, name)
            if not self.versions.note(reference, entry.version) and name in known:
                found[name] = known[name]
            else:
                found[name] = registry_of(entry, vault_restored=self.versions.vault_restored(reference))
        self._requested |= {
            Reference(project, name)
            for name, registry in found.items()
            if registry.requested_at and name in known and registry.requested_at != known[name].requested_at
        }
        return found | {name: known[name] for name in index.skipped if name in known}

    def _known(self, project: str) -> ProjectView:
        return self.projects.get(project, UNREAD)

    def _replace(self, project: str, new: ProjectView) -> bool:
        """Store what is known of a project. Return whether it has changed."""
        old = self.projects.get(project)
        self.projects[project] = new
        return old != new


def grants_of(record: ClusterGrants) -> Grants:
    """The grants in the form for the plan. Patterns count only if globs are enabled."""
    exact = {project: frozenset(names) for project, names in record.grants.items()}
    globs = {
        project: tuple(name for name in names if "*" in name) for project, names in record.grants.items()
    }
    return Grants(
        Knowledge.KNOWN,
        exact,
        {p: names for p, names in globs.items() if names} if record.globs else {},
        {project: (one.count, one.until) for project, one in record.confirmed.items()},
    )


def registry_of(entry: IndexEntry, *, vault_restored: bool = False) -> Registry:
    """The parts of an index entry that the plan needs."""
    return Registry(
        state=RegistryState(entry.state),
        version=entry.version,
        expires_at=entry.expires_at,
        refresh_at=entry.refresh_at,
        error=entry.error or (entry.warning if entry.version == 0 else ""),
        requested_at=entry.requested_at,
        traceparent=entry.traceparent,
        changed_at=entry.changed_at if entry.traceparent else None,
        vault_restored=vault_restored,
    )
