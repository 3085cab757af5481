"""How long a new annotated workload in a new namespace waits for its Secret."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bench.api import Arrivals, Awaited
from bench.world import World, deployment, namespace
from regcred.registry_reference import Reference

MOST = 1000
AT_ONCE = 40
"""At most during one refresh."""
APART = 0.04
"""Seconds between two newcomers while a refresh runs."""


class Newcomers:
    """Makes namespaces, one after the other, each with one workload."""

    def __init__(self, here: World, arrivals: Arrivals) -> None:
        self._world, self._arrivals = here, arrivals
        self._left = iter(self.names())

    @staticmethod
    def names() -> list[str]:
        """The namespaces that it may make, for the grants."""
        return [f"new-{number:04d}" for number in range(MOST)]

    async def one(
        self, secret: str, version: int, references: Sequence[Reference], labels: dict[str, str] | None = None
    ) -> float:
        """Seconds from when the API server has answered that the workload exists until its Secret is seen."""
        space = next(self._left)
        awaited = self._arrivals.expect(secret, version, [space])
        await self._world.api.send("POST", "/api/v1/namespaces", namespace(space))
        path = f"/apis/apps/v1/namespaces/{space}/deployments"
        await self._world.api.send("POST", path, deployment(space, references, labels=labels))
        created = time.time()
        return await awaited.all(60) - created

    async def during(
        self,
        refresh: Awaited,
        secret: str,
        version: int,
        references: Sequence[Reference],
        labels: dict[str, str] | None = None,
    ) -> list[float]:
        """The same, one after the other from when a refresh has begun until it has ended."""
        await refresh.some()
        tasks = []
        while not refresh.complete and len(tasks) < AT_ONCE:
            tasks.append(asyncio.create_task(self.one(secret, version, references, labels)))
            await asyncio.sleep(APART)
        await refresh.all()
        return await asyncio.gather(*tasks)
