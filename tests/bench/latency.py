"""How long a new annotated workload in a new namespace waits for its Secret."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bench.api import Arrivals, Awaited
from bench.world import World, deployment, namespace
from regcred.registry_reference import Reference

MAX_NEWCOMERS = 1000
MAX_DURING_REFRESH = 40
"""The most newcomers during one refresh."""
DELAY_SECONDS = 0.04
"""Seconds between two newcomers during a refresh."""


class Newcomers:
    """Creates namespaces with one workload each, and measures how long each waits for its Secret."""

    def __init__(self, world: World, arrivals: Arrivals) -> None:
        self._world, self._arrivals = world, arrivals
        self._left = iter(self.names())

    @staticmethod
    def names() -> list[str]:
        """All namespaces that it can create. They need grants."""
        return [f"new-{number:04d}" for number in range(MAX_NEWCOMERS)]

    async def one(
        self, secret: str, version: int, references: Sequence[Reference], labels: dict[str, str] | None = None
    ) -> float:
        """Return the seconds from the API server's response to the new workload until its Secret arrives."""
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
        """The same for many newcomers during a refresh.

        They start at the first arrival of the refresh and end at its last one.
        """
        await refresh.first()
        tasks = []
        while not refresh.complete and len(tasks) < MAX_DURING_REFRESH:
            tasks.append(asyncio.create_task(self.one(secret, version, references, labels)))
            await asyncio.sleep(DELAY_SECONDS)
        await refresh.all()
        return await asyncio.gather(*tasks)
