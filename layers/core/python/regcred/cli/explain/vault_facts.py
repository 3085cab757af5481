"""Reads the facts for ``regcred explain`` from Vault, as far as the user may read them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from regcred.cli.failures import BadInputError
from regcred.cli.output import say
from regcred.cli.session import CliSession
from regcred.errors import MalformedError, RefusedError, RegcredError
from regcred.registry.parsing import parse
from regcred.registry_limit import limit_reason, within_limit
from regcred.registry_reference import Reference
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.index import Index, IndexEntry
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store
from regcred.views.observed import Fact, ReferenceFacts


@dataclass(slots=True)
class VaultView:
    """The facts in Vault about the registries of a namespace. Each unreadable item is reported once."""

    session: CliSession
    namespace: str
    cluster: str | None
    uid: str = ""
    """The namespace's uid; empty if unknown. The ledger may be about an older namespace of the same name."""
    _notes: set[str] = field(default_factory=set)
    _projects: dict[str, dict[str, IndexEntry] | None] = field(default_factory=dict)
    _indexes: dict[str, Index] = field(default_factory=dict)
    _statuses: dict[str, Status | None] = field(default_factory=dict)

    def known(self, reference: Reference) -> ReferenceFacts:
        """The facts about a reference in Vault."""
        index = self._index(reference.project)
        if index is None:
            return ReferenceFacts()
        entry = index.get(reference.registry)
        defined, hosts = self._defined(reference, entry)
        placed, seen = self._placed(reference)
        placement = self._placement(reference)
        refused = placement.refused.get(self.namespace, "")
        return ReferenceFacts(
            entry=entry,
            typed_hosts=hosts,
            defined=defined,
            granted=self._read_grant(reference, refused),
            present=Fact.YES if placed else Fact.UNKNOWN,
            version=placed,
            ledger=placed,
            refused=refused,
            detail=placement.details.get(self.namespace, ""),
            held=placement.held.get(self.namespace, ""),
            no_room=self._want_of_room(reference) if entry is None and defined is Fact.YES else "",
            sync_seen=seen,
        )

    def _want_of_room(self, reference: Reference) -> str:
        """Why a registry is not rotated because its project has too many; empty if it is, or if unknown."""
        store, index = self.session.store, self._indexes.get(reference.project, Index())
        with suppress(RegcredError):
            policy = store.project(reference.project)
            limit = (policy.value if policy else ProjectPolicy()).max_registries
            names = store.registries(reference.project)
            if reference.registry in names and reference.registry not in within_limit(
                names, index, limit=limit
            ):
                return limit_reason(index, limit=limit)
        return ""

    def mode(self, references: Iterable[Reference]) -> str:
        """The mode of the cluster's sync, from its status for one of the projects; empty if unknown."""
        found = (self._status(project) for project in sorted({reference.project for reference in references}))
        return next((status.mode for status in found if status and status.mode), "")

    def others(self) -> dict[Reference, IndexEntry]:
        """All registries of the projects that were read, and of the projects granted to the namespace."""
        for project in self._granted():
            self._index(project)
        return {
            Reference(project, name): entry
            for project, index in self._projects.items()
            for name, entry in (index or {}).items()
        }

    def public(self) -> dict[Reference, Sequence[str]]:
        """The public registries of the same projects, and their hosts. They have no index entry."""
        found: dict[Reference, Sequence[str]] = {}
        for project, index in self._projects.items():
            if index is None:
                continue
            with suppress(RegcredError):
                for name in self.session.store.registries(project):
                    if name not in index or not index[name].version:
                        found |= self._public(Reference(project, name))
        return found

    def _public(self, reference: Reference) -> dict[Reference, Sequence[str]]:
        with suppress(RegcredError):
            if found := self.session.store.definition(reference):
                definition = parse(found.value.content(), where=str(reference))
                return (
                    {}
                    if definition.needs_credential()
                    else {reference: definition.model_dump().get("hosts", ())}
                )
        return {}

    def _granted(self) -> list[str]:
        store = self._store()
        if store is None:
            return []
        with suppress(RegcredError):
            clusters = [self.cluster] if self.cluster else store.clusters()
            if len(clusters) == 1 and (grants := store.effective_grants(clusters[0])):
                self.cluster = clusters[0]
                return [name for name in grants.grants if grants.allows(self.namespace, name)]
        return []

    def _store(self) -> Store | None:
        if not os.environ.get("VAULT_ADDR") and self.session.is_own:
            self._say("VAULT_ADDR is not set, so grants and registries were not read from Vault")
            return None
        try:
            return self.session.store
        except BadInputError as error:
            self._say(f"grants and registries were not read from Vault: {error}")
            return None

    def _index(self, project: str) -> dict[str, IndexEntry] | None:
        if project not in self._projects:
            self._projects[project] = self._read_index(project)
        return self._projects[project]

    def _read_index(self, project: str) -> dict[str, IndexEntry] | None:
        store = self._store()
        if store is None:
            return None
        try:
            found = store.index(project)
        except RegcredError as error:
            self._say(f"project {project} can't be read in Vault: {error}")
            return None
        self._find_cluster(store, project)
        self._indexes[project] = found.value if found else Index()
        return dict(self._indexes[project].registries)

    def _find_cluster(self, store: Store, project: str) -> None:
        """Set the cluster if only one may read the project. If several may, tell the user to name it."""
        if self.cluster:
            return
        with suppress(RefusedError, MalformedError):
            policy = store.project(project)
            clusters = policy.value.clusters if policy else []
            if len(clusters) == 1:
                self.cluster = clusters[0]
            elif clusters:
                self._say(
                    f"project {project} is used in {', '.join(clusters)}; add --cluster to name this cluster"
                )

    def _defined(self, reference: Reference, entry: IndexEntry | None) -> tuple[Fact, Sequence[str]]:
        """Whether the registry exists, and the hosts in its definition if the index has none yet."""
        try:
            if entry and entry.hosts:
                return (Fact.YES if self.session.store.definition_version(reference) else Fact.NO), ()
            found = self.session.store.definition(reference)
        except MalformedError:
            return Fact.YES, ()
        except RegcredError:
            return (Fact.YES if entry else Fact.UNKNOWN), ()
        if found is None:
            return Fact.NO, ()
        with suppress(MalformedError):
            return Fact.YES, parse(found.value.content(), where=str(reference)).typed_hosts()
        return Fact.YES, ()

    def _status(self, project: str) -> Status | None:
        if project not in self._statuses:
            self._statuses[project] = None
            with suppress(RegcredError):
                if self.cluster and (found := self.session.store.status(self.cluster, project)):
                    self._statuses[project] = found.value
        return self._statuses[project]

    def _placement(self, reference: Reference) -> Placement:
        """Sync's status of a reference in the cluster."""
        status = self._status(reference.project)
        return status.registries.get(reference.registry, Placement()) if status else Placement()

    def _placed(self, reference: Reference) -> tuple[int | None, datetime | None]:
        """The version in sync's ledger, and the time of sync's status."""
        placements = self._placement(reference).placed.items()
        status = self._status(reference.project)
        version = next((version for version, names in placements if self._is_in(names)), None)
        return version, status.written_at if status else None

    def _is_in(self, names: Mapping[str, str]) -> bool:
        uid = names.get(self.namespace)
        return uid is not None and (not self.uid or not uid or self.uid.startswith(uid))

    def _read_grant(self, reference: Reference, refused: str) -> Fact:
        """Whether the namespace may use the project: from the grants, or else from a refusal by sync."""
        if not self.cluster:
            return Fact.UNKNOWN
        with suppress(RegcredError):
            grants = self.session.store.effective_grants(self.cluster, reference.project)
            if grants is None:
                self._say(f"Vault has no grants for a cluster {self.cluster}: is that its name in Regcred?")
            return Fact.YES if grants and grants.allows(self.namespace, reference.project) else Fact.NO
        return Fact.NO if refused == "not-granted" else Fact.UNKNOWN

    def _say(self, text: str) -> None:
        if text not in self._notes:
            self._notes.add(text)
            say(f"note: {text}")
