"""What Vault knows of the registries that a Pod asks for, as far as the user may read it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from regcred.cli.failures import BadInputError
from regcred.cli.output import say
from regcred.cli.session import Session
from regcred.errors import MalformedError, RefusedError, RegcredError
from regcred.reference import Reference
from regcred.registry.parsing import parse
from regcred.vault.records.index import IndexEntry
from regcred.vault.store import Store
from regcred.views.explanation import Held, Known


@dataclass(slots=True)
class VaultView:
    """What Vault says, as far as the user may read it; each thing that can't be read is said once."""

    session: Session
    namespace: str
    cluster: str | None
    _said: set[str] = field(default_factory=set)
    _projects: dict[str, dict[str, IndexEntry] | None] = field(default_factory=dict)

    def known(self, reference: Reference) -> Known:
        """What is known of a reference without looking into the cluster."""
        index = self._index(reference.project)
        if index is None:
            return Known()
        entry = index.get(reference.registry)
        granted, placed, refused = self._place(reference)
        return Known(
            entry=entry,
            defined=self._defined(reference, entry),
            granted=granted,
            present=Held.YES if placed else Held.UNKNOWN,
            version=placed,
            refused=refused,
        )

    def others(self) -> dict[Reference, IndexEntry]:
        """Registries of the projects that were looked at, and of those that the namespace is granted."""
        for project in self._granted():
            self._index(project)
        return {
            Reference(project, name): entry
            for project, index in self._projects.items()
            for name, entry in (index or {}).items()
        }

    def public(self) -> dict[Reference, Sequence[str]]:
        """Registries of the same projects that need no credential, so that no index tells of them as in force."""
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
            if held := self.session.store.definition(reference):
                definition = parse(held.value.content(), where=str(reference))
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
            if len(clusters) == 1 and (grants := store.cluster(clusters[0])):
                self.cluster = clusters[0]
                return [name for name in grants.value.grants if grants.value.allows(self.namespace, name)]
        return []

    def _store(self) -> Store | None:
        if not os.environ.get("VAULT_ADDR") and self.session.is_own:
            self._say("VAULT_ADDR is not set, so grants and registries were not looked up in Vault")
            return None
        try:
            return self.session.store
        except BadInputError as error:
            self._say(f"grants and registries were not looked up in Vault: {error}")
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
        return dict(found.value.registries) if found else {}

    def _find_cluster(self, store: Store, project: str) -> None:
        """The only cluster that may read a project is this one; of several, the user must say which."""
        if self.cluster:
            return
        with suppress(RefusedError, MalformedError):
            policy = store.project(project)
            clusters = policy.value.clusters if policy else []
            if len(clusters) == 1:
                self.cluster = clusters[0]
            elif clusters:
                self._say(
                    f"project {project} is used in {', '.join(clusters)}; say which this is by --cluster"
                )

    def _defined(self, reference: Reference, entry: IndexEntry | None) -> Held:
        try:
            return Held.YES if self.session.store.definition_version(reference) else Held.NO
        except RegcredError:
            return Held.YES if entry else Held.UNKNOWN

    def _place(self, reference: Reference) -> tuple[Held, int | None, str]:
        """Whether it is granted, the version that sync has placed, and why it refused."""
        if not self.cluster:
            return Held.UNKNOWN, None, ""
        refused, placed = "", None
        with suppress(RegcredError):
            status = self.session.store.status(self.cluster, reference.project)
            if status and (place := status.value.registries.get(reference.registry)):
                refused = place.refused.get(self.namespace, "")
                placed = next(
                    (version for version, names in place.placed.items() if self.namespace in names), None
                )
        with suppress(RegcredError):
            grants = self.session.store.cluster(self.cluster)
            allowed = grants is not None and grants.value.allows(self.namespace, reference.project)
            return (Held.YES if allowed else Held.NO), placed, refused
        if refused == "not-granted":
            return Held.NO, placed, refused
        return (Held.YES if placed else Held.UNKNOWN), placed, refused

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(f"note: {text}")
