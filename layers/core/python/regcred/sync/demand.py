"""Which projects a cluster uses, so that only their documents in Vault are read and polled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from regcred.sync.inventory import Inventory
from regcred.sync.ledger import Ledger
from regcred.sync.sources import Sources


class Demand:
    """Keeps the set of known projects to those that the cluster uses.

    Args:
        inventory: What the workloads ask for.
        ledger: What is in place.
        sources: Reads the projects' indexes. It also has the grants: what is not granted is not read.
    """

    def __init__(self, inventory: Inventory, ledger: Ledger, sources: Sources) -> None:
        self._inventory = inventory
        self._ledger = ledger
        self._sources = sources

    def projects(self) -> set[str]:
        """The projects that have Secrets in place, or that are granted and asked for."""
        return self._asked(self._inventory.requesting_namespaces()) | self._ledger.projects()

    def _asked(self, namespaces: Iterable[str]) -> set[str]:
        grants = self._sources.grants
        return {
            reference.project
            for namespace in namespaces
            for workload in self._inventory.requests(namespace)
            for reference in workload.references
            if grants.allow(reference.project, namespace)
        }

    async def read_new(self, namespaces: set[str] | None = None) -> None:
        """Read the indexes of projects that came into use, in the whole cluster or in some namespaces."""
        used = self.projects() if namespaces is None else self._asked(namespaces)
        await self.read(used - self._sources.projects.keys())

    async def read(self, projects: Iterable[str]) -> None:
        """Read the indexes of projects."""
        await asyncio.gather(*(self._sources.look_at(project) for project in sorted(set(projects))))

    def drop_unused(self) -> None:
        """Stop polling projects that nothing uses."""
        for project in self._sources.projects.keys() - self.projects():
            self._sources.forget(project)
