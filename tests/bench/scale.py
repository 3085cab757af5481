"""Larger clusters: time, memory, and whether memory stays flat over many changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bench.audit import only
from bench.latency import Newcomers
from bench.table import Table, median, percentile, say
from bench.world import FLOOR, MAIN, Floor, Sync, World, deployment
from regcred.registry_reference import Reference

MAX_GROWTH = 1.05
"""The most memory in the last quarter of a soak, relative to the second quarter. By then, sync has seen every
kind of change."""


async def scale(here: World, table: Table, *, soak: int) -> None:
    """Measure 5,000 namespaces that request two of 10 registries each, 20,000 Pods, and the soak."""
    left = [MAIN, *(Reference("bench", f"r{number}") for number in range(1, 5))]
    right = [Reference("other", f"r{number}") for number in range(5)]
    run = LargeCluster(
        here, table, [(left[number], right[number]) for number in range(5)], count=5000, pods=4
    )
    async with here.api.arrivals() as run.arrivals:
        await run.prepare()
        await run.cold_start(memory=150)
        await run.rotation()
        await run.newcomers()
        await run.rest()
        await run.soak(left, soak)
        await run.end()


async def fleet(here: World, table: Table) -> None:
    """Measure 10,000 namespaces that request three registries each."""
    three = (MAIN, Reference("bench", "r1"), Reference("other", "r0"))
    run = LargeCluster(here, table, [three], count=10_000, pods=0)
    async with here.api.arrivals() as run.arrivals:
        await run.prepare()
        await run.cold_start(memory=None)
        await run.restart()
        await run.rotation()
        await run.newcomers()
        await run.rest()
        await run.end()


class LargeCluster:
    """A large cluster. Its namespaces take turns to request the items of `requested`."""

    def __init__(
        self, here: World, table: Table, requested: Sequence[Sequence[Reference]], *, count: int, pods: int
    ) -> None:
        self.world, self.table, self.requested, self.count, self.pods = here, table, requested, count, pods
        self.sync = Sync(here, POLL_SECONDS="2", GRACE_SECONDS="1", MAX_REMOVAL_SHARE="1")
        self.floor = Floor(here)
        self.arrivals = None
        self._peak = 0.0
        self._memory: float | None = None

    @property
    def references(self) -> list[Reference]:
        """All requested registries."""
        return sorted({reference for references in self.requested for reference in references}, key=str)

    def spaces(self, reference: Reference) -> list[str]:
        """The namespaces that request a registry."""
        number = len(self.requested)
        return [
            space for at, space in enumerate(self.world.spaces) if reference in self.requested[at % number]
        ]

    async def prepare(self) -> None:
        """Create everything except the Secrets."""
        here, started = self.world, time.monotonic()
        projects = sorted({reference.project for reference in self.references})
        here.allow(*projects)
        for reference in self.references:
            here.mint(reference)
        names = [f"bench-{number:05d}" for number in range(self.count)]
        here.mount.grant({project: names + Newcomers.names() for project in projects})
        await here.fill(self.count, self.requested, pods=self.pods)
        created = f"{self.count:,} namespaces" + (f", {self.count * self.pods:,} Pods" if self.pods else "")
        say(f"  created {created} ({time.monotonic() - started:.0f} s)")
        await self.floor.start()

    async def cold_start(self, *, memory: float | None) -> None:
        """Measure the time until every Secret is there. The floor creates one Secret in each namespace."""
        self._memory = memory
        awaited = self.arrivals.expect(FLOOR.secret_name, 1, self.world.spaces)
        began = (await self.floor.write("POST", 1, self.world.spaces))["started"]
        floor = (await awaited.all() - began) / self.count
        imports = await asyncio.to_thread(self.sync.import_seconds)
        expected = {reference: self.spaces(reference) for reference in self.references}
        total = sum(map(len, expected.values()))
        awaited = [
            self.arrivals.expect(reference.secret_name, 1, spaces) for reference, spaces in expected.items()
        ]
        started = self.sync.start()
        took = max([await secrets.all() for secrets in awaited]) - started
        self.table.add(
            f"cold start until {total:,} Secrets are there",
            floor=f"{floor * total:.1f} + {imports:.1f} s",
            ours=f"{took:.1f} s",
            ratio=took / (floor * total + imports),
        )
        await asyncio.sleep(5)
        self._peak = self.sync.cost.peak

    async def restart(self) -> None:
        """Restart sync when there is nothing to do."""
        self.sync.stop()
        api_audit, _ = self.world.audits()
        self.sync.start()
        await asyncio.sleep(15)
        requests = api_audit.counts()
        writes, lists = (
            only(requests, {"create", "update", "delete"}).total(),
            only(requests, {"list"}).total(),
        )
        self.table.add(
            "restart at steady state",
            goal="0 writes",
            ours=f"{writes} writes, {lists} lists",
            holds=writes == 0,
        )
        self._keep_peak()

    async def rotation(self) -> None:
        """Rotate the registry that the most namespaces use. The floor writes as many Secrets."""
        spaces = self.spaces(MAIN)
        awaited = self.arrivals.expect(FLOOR.secret_name, 2, spaces)
        began = (await self.floor.write("PUT", 2, spaces))["started"]
        floor = await awaited.all() - began
        awaited = self.arrivals.expect(MAIN.secret_name, 2, spaces)
        learned, _ = await self.world.rotate()
        took = await awaited.all() - learned()
        self.table.add(
            f"rotation reaches {len(spaces):,} namespaces, from learning of it",
            floor=f"{floor:.1f} s",
            ours=f"{took:.1f} s",
            ratio=took / floor,
        )
        self._keep_peak()

    async def newcomers(self) -> None:
        """Measure how long new namespaces with an annotated workload wait for their Secret."""
        newcomers = Newcomers(self.world, self.arrivals)
        samples = [await newcomers.one(MAIN.secret_name, 2, (MAIN,)) for _ in range(20)]
        self.table.add(
            f"a new annotated workload in a new namespace, idle ({len(samples)} samples), median / p95",
            ours=f"{median(samples) * 1000:.0f} / {percentile(samples, 0.95) * 1000:.0f} ms",
        )

    async def rest(self, seconds: float = 60) -> None:
        """Measure requests and CPU when nothing changes."""
        await asyncio.sleep(5)
        api_audit, _ = self.world.audits()
        self.sync.cost.restart()
        await asyncio.sleep(seconds)
        share, requests = self.sync.cost.share, api_audit.counts()
        requests -= only(requests, {"watch"})
        self.table.add(
            f"at rest for {seconds:.0f} s, polled every 2 s",
            ours=f"{requests.total()} API requests, {share:.2%} of a core",
        )

    async def soak(self, choices: Sequence[Reference], changes: int) -> None:
        """Change workloads, so that each change creates one Secret and removes another.

        Every tenth workload is deleted and created again instead.
        """
        resident: list[float] = []

        async def watch() -> None:
            while True:
                resident.append(self.sync.cost.resident)
                await asyncio.sleep(1)

        watching = asyncio.create_task(watch())
        started = time.monotonic()
        step = 500
        for first in range(0, changes, step):
            requests = []
            for number in range(first, min(first + step, changes)):
                space = self.world.spaces[number % 1000]
                reference = choices[(number // 1000 + number) % len(choices)]
                path = f"/apis/apps/v1/namespaces/{space}/deployments"
                if number % 10:
                    annotations = {"registry.regcred.dev/r0": str(reference)}
                    requests.append(("PATCH", f"{path}/app", {"metadata": {"annotations": annotations}}))
                else:
                    await self.world.api.send("DELETE", f"{path}/app?propagationPolicy=Background")
                    requests.append(("POST", path, deployment(space, (reference,))))
            await self.world.api.each(requests, in_flight=4)
            self.world.mint(choices[first // step % len(choices)])
        seconds = time.monotonic() - started
        await asyncio.sleep(10)
        watching.cancel()
        self._keep_peak()
        quarter = len(resident) // 4
        early, late = median(resident[quarter : 2 * quarter]), median(resident[3 * quarter :])
        self.table.add(
            f"memory over {changes:,} changes in {seconds:.0f} s, second and last quarter",
            goal=f"flat (<= {MAX_GROWTH:.2f} x)",
            ours=f"{early:.0f} / {late:.0f} MiB",
            ratio=late / early,
            holds=late <= early * MAX_GROWTH,
        )

    async def end(self) -> None:
        """Report the peak memory, and stop sync and the floor."""
        self._keep_peak()
        self.table.add(
            "peak memory",
            goal=f"<= {self._memory:.0f} MiB" if self._memory else "",
            ours=f"{self._peak:.0f} MiB",
            holds=self._peak <= self._memory if self._memory else None,
        )
        await self.floor.stop()
        self.sync.stop()

    def _keep_peak(self) -> None:
        self._peak = max(self._peak, self.sync.cost.peak)
