"""The ledger: sync's record of what is in place, in ``status/C/P``.

Sync needs it because it can't read Secrets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from regcred.clock import Clock
from regcred.cluster.model import LedgerEntry
from regcred.errors import ConflictError, MalformedError, RegcredError
from regcred.registry_reference import Reference, is_label
from regcred.sync.actions import UpdateLedger
from regcred.sync.ledger_documents import bounded, entries, statuses
from regcred.sync.logging import log
from regcred.sync.messages import LEFT_ALONE, Why
from regcred.sync.metrics import Meter
from regcred.sync.vault_threads import VaultThreads
from regcred.vault.records.status import Status
from regcred.vault.store import Store

Key = tuple[str, Reference]
"""The key of an entry: a namespace and a reference."""

DocumentVersions = tuple[int, tuple[int, ...]]
"""The versions of a status: that of its first document, and those of the others."""

EMPTY: Mapping[Reference, LedgerEntry] = {}
UNCHANGED: Mapping[Key, LedgerEntry | None] = {}


class Ledger:
    """What is in place, by namespace and reference. A change marks the project's documents to be written.

    Args:
        store: The mount.
        cluster: The cluster's name in Vault.
        vault: Runs blocking calls.
        clock: Returns the time.
        meter: Counts writes.
        mode: How Pods get their Secrets, for the status documents.
    """

    def __init__(
        self, store: Store, cluster: str, vault: VaultThreads, clock: Clock, meter: Meter, *, mode: str = ""
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._vault = vault
        self._clock = clock
        self._meter = meter
        self._mode = mode
        self.entries: dict[str, dict[Reference, LedgerEntry]] = {}
        self.written_at: dict[str, datetime] = {}
        """By project: when any sync last wrote its document."""
        self._versions: dict[str, DocumentVersions] = {}
        """By project: the versions of its documents."""
        self._dirty: set[str] = set()
        self._changed: dict[Key, LedgerEntry | None] = {}
        """Entries that this process changed since the last write, with their values at that time."""
        self._count = 0
        self._saving = asyncio.Lock()

    @property
    def dirty(self) -> bool:
        """Whether any change is not yet in Vault."""
        return bool(self._dirty)

    @property
    def in_place(self) -> int:
        """How many Secrets are in place."""
        return self._count

    def projects(self) -> set[str]:
        """The projects that have anything in place."""
        return {
            reference.project
            for entries in self.entries.values()
            for reference, entry in entries.items()
            if entry.version is not None
        }

    async def load(self) -> None:
        """Read the documents of all projects.

        A broken document counts as empty and is written again. Each needed Secret adds its entry again.

        Raises:
            TransientError, RefusedError: Vault can't be read, so nothing is known.
        """
        for project in await self._vault(self._store.status_projects, self._cluster):
            if is_label(project):
                await self._load_project(project)
            else:
                problem = f"status/{self._cluster}/{project[:80]} is not the name of a project; delete it"
                log(logging.ERROR, "a document in Vault is skipped", problem=problem)
                self._meter.count("documents_skipped_total", kind="status")

    async def _load_project(
        self, project: str, *, changed: Mapping[Key, LedgerEntry | None] = UNCHANGED
    ) -> None:
        """Take the entries of a project's document, except those in ``changed`` with their earlier values."""
        try:
            found = await self._vault(self._store.status, self._cluster, project)
        except MalformedError as error:
            log(
                logging.ERROR,
                "a ledger is broken; sync starts a new one",
                project=project,
                problem=str(error),
            )
            found = None
        if found is None:
            version = await self._vault(self._store.status_version, self._cluster, project)
            self._versions[project] = (version, ())
            return
        self._versions[project] = (found.version, found.others)
        last = self.written_at.get(project)
        self.written_at[project] = found.value.written_at
        theirs = {
            (name, reference): entry for reference, name, entry in bounded(entries(project, found.value))
        }
        kept = {key for key, old in changed.items() if self._is_ours(key, old, theirs.get(key))}
        if last is None or found.value.written_at > last:
            for key in self._keys(project) - theirs.keys() - kept:
                self._set(*key, None)
        else:  # the document is from a restored Vault, so the entries in memory are newer
            kept |= self._keys(project)
        for key in theirs.keys() - kept:
            self._set(*key, theirs[key])

    def _is_ours(self, key: Key, old: LedgerEntry | None, theirs: LedgerEntry | None) -> bool:
        """Whether to keep our change of an entry. A note never undoes another sync's write or removal."""
        before = _version(old)
        return _version(self.entry(*key)) != before or _version(theirs) == before

    def _keys(self, project: str) -> set[Key]:
        return {
            (namespace, reference)
            for namespace, entries in self.entries.items()
            for reference in entries
            if reference.project == project
        }

    def entry(self, namespace: str, reference: Reference) -> LedgerEntry | None:
        """The entry of a reference in a namespace."""
        return self.entries.get(namespace, EMPTY).get(reference)

    def put(self, namespace: str, reference: Reference, entry: LedgerEntry | None) -> None:
        """Record what is in place. None drops the entry."""
        old = self.entry(namespace, reference)
        if old == entry:
            return
        self._set(namespace, reference, entry)
        self._dirty.add(reference.project)
        self._changed.setdefault((namespace, reference), old)

    def enter(self, namespace: str, reference: Reference, version: int, uid: str) -> None:
        """Record a version that is in place. A reason why Pods don't name the Secret stays."""
        old = self.entry(namespace, reference)
        stays = old is not None and old.refused in {Why.RESTART, Why.NOT_ATTACHED}
        refused, detail = (old.refused, old.detail) if old and stays else ("", "")
        self.put(namespace, reference, LedgerEntry(version, uid, refused=refused, detail=detail))

    def _set(self, namespace: str, reference: Reference, entry: LedgerEntry | None) -> None:
        entries = self.entries.setdefault(namespace, {})
        old = entries.pop(reference, None)
        if entry is not None:
            entries[reference] = entry
        elif not entries:
            del self.entries[namespace]
        self._count += int(entry is not None and bool(entry.version))
        self._count -= int(old is not None and bool(old.version))

    def touch(self, projects: Iterable[str]) -> None:
        """Mark unchanged documents for writing: the heartbeat."""
        self._dirty |= set(projects)

    async def save(self) -> bool:
        """Write changed documents. Return whether all were written; the others stay marked."""
        async with self._saving:
            return await self._save()

    async def _save(self) -> bool:
        dirty, self._dirty = self._dirty, set()
        changed, self._changed = self._changed, {}
        documents = self._documents(dirty)
        unwritten = set(dirty)
        try:
            for project in sorted(dirty):
                if await self._try_to_write(project, documents[project], changed):
                    unwritten.discard(project)
        finally:  # also if the process is stopped during a write
            self._dirty |= unwritten
            # The last written values are now the earlier values.
            self._changed |= {key: old for key, old in changed.items() if key[1].project in unwritten}
        return not self._dirty

    async def _try_to_write(
        self, project: str, status: Status, changed: Mapping[Key, LedgerEntry | None]
    ) -> bool:
        """Write a document. Return whether that succeeded."""
        try:
            await self._write(project, status, changed)
        except RegcredError as error:
            self._meter.count("ledger_writes_total", project=project, outcome=error.kind)
            log(logging.WARNING, "the ledger could not be written", project=project, problem=str(error))
            return False
        return True

    async def _write(self, project: str, status: Status, changed: Mapping[Key, LedgerEntry | None]) -> None:
        try:
            await self._write_at(project, status)
        except ConflictError:
            # Another sync of this cluster has written, such as a manual run. Its changes count, except for
            # entries that this process has changed meanwhile.
            await self._load_project(project, changed={**self._changed, **changed})
            await self._write_at(project, self._documents({project})[project])
        self.written_at[project] = status.written_at
        self._meter.count("ledger_writes_total", project=project, outcome="ok")

    async def _write_at(self, project: str, status: Status) -> None:
        cas, others = self._versions.get(project, (0, ()))
        written = await self._vault(
            self._store.write_status, self._cluster, project, status, cas=cas, others=others
        )
        self._versions[project] = (written.version, written.others)

    def _documents(self, projects: set[str]) -> dict[str, Status]:
        return statuses(projects, self.entries, now=self._clock(), mode=self._mode)


def announced(old: LedgerEntry | None, uid: str) -> LedgerEntry:
    """The entry before a first write. The reason why the last try failed stays until a try succeeds."""
    new = LedgerEntry(0, uid)
    stays = old is not None and old.refused in LEFT_ALONE | {Why.RESTART}
    return replace(new, refused=old.refused, detail=old.detail) if old and stays else new


def updated(old: LedgerEntry, update: UpdateLedger) -> LedgerEntry:
    """The entry after an action; an empty one if it must be dropped."""
    if update.forget:
        return LedgerEntry()
    if update.held is not None:
        return replace(old, held=update.held)
    since = update.unused_since.isoformat() if update.unused_since else ""
    if update.refused:
        since = since or old.unused_since
    refused = update.refused or ""
    detail = old.detail if refused == old.refused else ""
    return LedgerEntry(old.version, old.uid, since, refused, detail, old.held)


def _version(entry: LedgerEntry | None) -> int | None:
    return entry.version if entry else None
