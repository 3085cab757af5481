"""What sync knows of Vault: grants, indexes, credentials. A poll reads metadata; changed documents are then read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from regcred.clock import Clock
from regcred.cluster.dockerconfig import SecretBody, secret_body
from regcred.errors import MissingError, RegcredError, TransientError
from regcred.reference import Reference
from regcred.sync.logging import log
from regcred.sync.metrics import Meter
from regcred.sync.vault_threads import VaultThreads
from regcred.sync.view import UNREAD, Grants, Knowledge, ProjectView, Registry, RegistryState
from regcred.vault.records.declared import ClusterGrants
from regcred.vault.records.index import Index, IndexEntry
from regcred.vault.records.paths import SIGNAL
from regcred.vault.records.signal import mark
from regcred.vault.store import Store

BEHIND_FOR = timedelta(minutes=5)
"""An index that is older than a known one is a stale read. If it stays older for this long, Vault was restored."""

BODIES = 32 * 2**20
"""Bytes of Secrets kept in memory, so that a credential for many namespaces is read once."""


class Sources:
    """Vault as one cluster's sync sees it. After a failure the earlier state stays, and ``problems`` has the reason.

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
        self._asked: set[Reference] = set()
        self.problems: dict[str, str] = {}
        """By document (the path of the grants, or a project): why its current state is unknown."""
        self._ended: dict[str, int] = {}
        self._readable: dict[str, bool] = {}
        self._versions: dict[str, int] = {}
        self._bodies: dict[Reference, SecretBody] = {}
        self._reading: dict[Reference, asyncio.Future[SecretBody]] = {}
        self._highest: dict[Reference, int] = {}
        self._behind: dict[Reference, datetime] = {}
        self._grants_behind: datetime | None = None

    def unreadable(self) -> list[str]:
        """Why the grants are unknown or an index can't be read. A document that was never written is not an error."""
        return [
            problem
            for name, problem in self.problems.items()
            if name not in self.projects or self.projects[name].knowledge is Knowledge.UNREADABLE
        ]

    async def look_at_grants(self) -> bool:
        """Poll the grants. Return whether they changed."""
        try:
            version = await self._vault(self._store.cluster_version, self._cluster)
            if version and version == self._versions.get(""):
                return self._settle(self._grants_path)
            found = await self._vault(self._store.cluster, self._cluster) if version else None
        except RegcredError as error:
            self._trouble(self._grants_path, error)
            return False
        if found is None:
            self._trouble(self._grants_path, f"there is no document {self._grants_path}")
            if self.grants.knowledge is Knowledge.UNREADABLE:
                self.grants = Grants(Knowledge.ABSENT)
                return True
            return False
        if self._grants_are_stale(found.version):
            return False
        self._settle(self._grants_path)
        self._versions[""] = found.version
        old, self.grants = self.grants, grants_of(found.value)
        return old != self.grants

    def _grants_are_stale(self, version: int) -> bool:
        """Whether a standby returned an older state. An older grant must not count as a withdrawal."""
        if version >= self._versions.get("", 0):
            self._grants_behind = None
            return False
        now = self._clock()
        self._grants_behind = self._grants_behind or now
        return now - self._grants_behind < BEHIND_FOR

    async def look_at(self, project: str) -> bool:
        """Poll a project's index. Return whether anything changed."""
        known = self.projects.get(project, UNREAD)
        try:
            version = await self._vault(self._store.index_version, project)
            if version and version == self._versions.get(project) and not self._awaits_catch_up(project):
                self._settle(project)
                return self._keep(
                    project, ProjectView(Knowledge.KNOWN, known.registries, unreadable=known.unreadable)
                )
            found = await self._vault(self._store.index, project) if version else None
        except RegcredError as error:
            self._trouble(project, error)
            return self._keep(project, replace(known, knowledge=Knowledge.UNREADABLE, problem=str(error)))
        if found is None:
            problem = f"project {project} has no index"
            self._trouble(project, problem)
            return self._keep(project, replace(known, knowledge=Knowledge.ABSENT, problem=problem))
        self._settle(project)
        self._versions[project] = found.version
        self._tell_skipped(project, found.value.skipped)
        registries = self._registries(project, found.value)
        return self._keep(project, ProjectView(Knowledge.KNOWN, registries, unreadable=found.value.skipped))

    def _tell_skipped(self, project: str, skipped: Mapping[str, str]) -> None:
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
        """Poll the signal. Return the projects in use that have had a credential ended since the last poll."""
        try:
            version = await self._vault(self._store.signal_version)
            if version == self._versions.get(SIGNAL):
                return set()
            found = await self._vault(self._store.signal) if version else None
        except RegcredError:
            return set()  # each index is polled as well
        first = SIGNAL not in self._versions
        self._versions[SIGNAL] = version
        old, self._ended = self._ended, dict(found.value.ended) if found else {}
        return (
            set()
            if first
            else {name for name in self.projects if self._ended.get(mark(name)) != old.get(mark(name))}
        )

    def take_asked(self) -> set[Reference]:
        """The registries that a person had rotated or checked since the last call."""
        taken, self._asked = self._asked, set()
        return taken

    def remember(self, reference: Reference, version: int) -> None:
        """Record that a version has existed, so that an older index is recognized as stale."""
        self._highest[reference] = max(version, self._highest.get(reference, 0))

    def forget(self, project: str) -> None:
        """Forget a project that is no longer in use."""
        known = self.projects.pop(project, None)
        if known and known.unreadable:
            self._meter.set("vault_index_entries_skipped", 0, project=project)
        self.problems.pop(project, None)
        self._readable.pop(project, None)
        self._meter.replace(
            "vault_document_known", [({"document": name}, known) for name, known in self._readable.items()]
        )
        self._versions.pop(project, None)
        self._bodies = {
            reference: body for reference, body in self._bodies.items() if reference.project != project
        }

    def fetch(self, wanted: Iterable[tuple[Reference, int]]) -> None:
        """Start to read credentials that will be needed. The later read raises any error."""
        for reference, version in wanted:
            if self._fitting(reference, version) is None and reference not in self._reading:
                self._begin(reference, version)

    async def body(self, reference: Reference, version: int) -> SecretBody:
        """The Secret of a credential at ``version`` or newer. All callers share one read from Vault.

        Raises:
            RegcredError: the credential can't be read, or Vault answers with an older one.
        """
        body = self._fitting(reference, version)
        if body is None:
            body = await asyncio.shield(self._reading.get(reference) or self._begin(reference, version))
        return body

    def _fitting(self, reference: Reference, version: int) -> SecretBody | None:
        body = self._bodies.get(reference)
        if body is None or body.version == version:
            return body
        return body if body.version > version and not self._rewound(reference) else None

    def _begin(self, reference: Reference, version: int) -> asyncio.Future[SecretBody]:
        reading = asyncio.ensure_future(self._read_body(reference, version))
        self._reading[reference] = reading

        def done(finished: asyncio.Future[SecretBody]) -> None:
            self._reading.pop(reference, None)
            if not finished.cancelled():
                finished.exception()  # a waiting caller gets the error; there may be none

        reading.add_done_callback(done)
        return reading

    async def _read_body(self, reference: Reference, version: int) -> SecretBody:
        try:
            found = await self._vault(self._store.credential, reference)
        except MissingError as error:
            # Sync has no credentials to sign in with. The caller could mistake that for a deleted namespace.
            raise TransientError(str(error)) from None
        self._meter.count("vault_credential_reads_total", project=reference.project)
        if found is None or (found.version < version and not self._rewound(reference)):
            have = f"version {found.version}" if found else "none"
            raise TransientError(
                f"the index names version {version} of {reference}, but Vault gives {have}; it is tried again"
            )
        record = found.value
        body = secret_body(
            reference, record.dockerconfigjson, version=found.version, expires_at=record.expires_at
        )
        self._keep_body(body)
        self.remember(reference, found.version)
        return body

    def _keep_body(self, body: SecretBody) -> None:
        """Keep a body for the next write. When the limit is reached, the oldest bodies are dropped and read again later."""
        self._bodies.pop(body.reference, None)
        self._bodies[body.reference] = body
        size = sum(len(kept.content) for kept in self._bodies.values())
        while size > BODIES and len(self._bodies) > 1:
            size -= len(self._bodies.pop(next(iter(self._bodies))).content)

    def _registries(self, project: str, index: Index) -> Mapping[str, Registry]:
        now = self._clock()
        found = {}
        for name, entry in index.registries.items():
            reference = Reference(project, name)
            if self._is_stale(reference, entry, now) and (
                old := self.projects.get(project, UNREAD).registries.get(name)
            ):
                found[name] = old
            else:
                found[name] = registry_of(entry, rewound=self._rewound(reference))
        known = self.projects.get(project, UNREAD).registries
        self._asked |= {
            Reference(project, name)
            for name, registry in found.items()
            if registry.asked_at and name in known and registry.asked_at != known[name].asked_at
        }
        return found | {name: known[name] for name in index.skipped if name in known}

    def _is_stale(self, reference: Reference, entry: IndexEntry, now: datetime) -> bool:
        if entry.version >= self._highest.get(reference, 0):
            self._behind.pop(reference, None)
            self._highest[reference] = entry.version
            return False
        return now - self._behind.setdefault(reference, now) < BEHIND_FOR

    def _rewound(self, reference: Reference) -> bool:
        since = self._behind.get(reference)
        return since is not None and self._clock() - since >= BEHIND_FOR

    def _awaits_catch_up(self, project: str) -> bool:
        return any(reference.project == project for reference in self._behind)

    def _keep(self, project: str, new: ProjectView) -> bool:
        old = self.projects.get(project)
        self.projects[project] = new
        return old != new

    def _settle(self, name: str) -> bool:
        if self.problems.pop(name, None):
            log(logging.INFO, "Vault can be read again", document=name)
        self._measure(name, readable=True)
        return False

    def _trouble(self, name: str, problem: object) -> None:
        if self.problems.get(name) != str(problem):
            log(
                logging.WARNING,
                "what is in place is kept: a document in Vault is not known",
                document=name,
                problem=str(problem),
            )
        self.problems[name] = str(problem)
        self._measure(name, readable=False)

    def _measure(self, name: str, *, readable: bool) -> None:
        self._readable[name] = readable
        self._meter.set("vault_document_known", readable, document=name)


def grants_of(record: ClusterGrants) -> Grants:
    """The grants in the form for the plan. Patterns count only if globs are enabled."""
    exact = {project: frozenset(names) for project, names in record.grants.items()}
    globs = {
        project: tuple(name for name in names if "*" in name) for project, names in record.grants.items()
    }
    return Grants(
        Knowledge.KNOWN, exact, {p: names for p, names in globs.items() if names} if record.globs else {}
    )


def registry_of(entry: IndexEntry, *, rewound: bool = False) -> Registry:
    """The parts of an index entry that the plan needs."""
    return Registry(
        state=RegistryState(entry.state),
        version=entry.version,
        expires_at=entry.expires_at,
        refresh_at=entry.refresh_at,
        error=entry.error or (entry.warning if entry.version == 0 else ""),
        asked_at=entry.asked_at,
        rewound=rewound,
    )
