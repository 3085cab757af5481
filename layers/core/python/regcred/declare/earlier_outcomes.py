"""Finds new registries whose name an earlier registry had."""

from __future__ import annotations

import threading
from contextlib import suppress

from regcred.errors import MalformedError, RefusedError
from regcred.registry_reference import Reference
from regcred.vault.store import Store


class EarlierOutcomes:
    """Finds which new registries need a request.

    Dispatch finds a new registry without a request, unless the index has an entry of an earlier one with its
    name. So a request for each would double the writes without need. This class lists the projects that have
    an index, and reads each index once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reading = threading.Lock()
        self._has_listed = False
        self._projects: frozenset[str] | None = None
        self._known: dict[str, frozenset[str] | None] = {}

    def may_exist(self, reference: Reference) -> bool:
        """Whether the index has an entry of this name, or can't be read."""
        project = reference.project
        with self._reading:
            if project not in self._known:
                self._known[project] = self._read(project)
        known = self._known[project]
        return known is None or reference.registry in known

    def _read(self, project: str) -> frozenset[str] | None:
        try:
            if not self._has_index(project):
                return frozenset()
            found = self._store.index(project)
        except (RefusedError, MalformedError):
            return None
        return frozenset((*found.value.registries, *found.value.marks)) if found else frozenset()

    def _has_index(self, project: str) -> bool:
        """Whether a project may have an index. Without the right to list, each may have one."""
        if not self._has_listed:
            self._has_listed = True
            with suppress(RefusedError):
                self._projects = frozenset(self._store.projects_with_credentials())
        return self._projects is None or project in self._projects
