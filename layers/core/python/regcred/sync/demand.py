"""Which projects a cluster uses, so that only their documents in Vault are read and polled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from regcred.sync.inventory import Inventory
from regcred.sync.ledger import Ledger
from regcred.sync.plan_input import Rules
from regcred.sync.prepared_requests import prepared_projects
from regcred.sync.vault_sources import Sources


class Demand:
    """Reads the indexes of projects that the cluster uses, and forgets the others.

    Args:
        inventory: The requests of workloads.
        ledger: What is in place.
        sources: Reads the indexes, and has the grants. An index of a project without a grant is not read.
        rules: The settings. If granted registries are prepared, their projects count as used.
    """

    def __init__(self, inventory: Inventory, ledger: Ledger, sources: Sources, rules: Rules) -> None:
        self._rules = rules
        self._inventory = inventory
        self._ledger = ledger
        self._sources = sources

    def projects(self) -> set[str]:
        """The projects that have Secrets in place, or that are granted and either requested or prepared."""
        return self._requested(self._inventory.requesting_namespaces()) | self._ledger.projects()

    def _requested(self, namespaces: Iterable[str]) -> set[str]:
        grants = self._sources.grants
        found: set[str] = set()
        for namespace in namespaces:
            if known := self._inventory.namespaces.get(namespace):
                found.update(prepared_projects(self._rules, grants, known))
            found.update(
                reference.project
                for workload in self._inventory.requests(namespace)
                for reference in workload.references
                if grants.allows(namespace, reference.project)
            )
        return found

    async def read_new(self, namespaces: set[str] | None = None) -> None:
        """Read the indexes of projects that came into use, in the whole cluster or in some namespaces."""
        used = self.projects() if namespaces is None else self._requested(namespaces)
        await self.read(used - self._sources.projects.keys())

    async def read(self, projects: Iterable[str]) -> None:
        """Read the indexes of projects."""
        await asyncio.gather(*(self._sources.look_at(project) for project in sorted(set(projects))))

    def drop_unused(self) -> None:
        """Stop polling projects that nothing uses."""
        for project in self._sources.projects.keys() - self.projects():
            self._sources.forget(project)
