"""`python -m bench.sync`: measure the in-cluster sync on real servers, next to the floor (floor.py).

Both work in turn, with the same account, on the same servers. A ratio is the median of the ratios of all
rounds. The administrator's watch shows when Secrets arrive, the audit logs show the requests, and /proc shows
CPU and memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench.audit import WRITES, only
from bench.events import event_proxy
from bench.latency import Newcomers
from bench.polls import polls
from bench.pulls import first_pods, pulls
from bench.scale import fleet, scale
from bench.table import Table, median, percentile, say
from bench.world import FLOOR, INDEX, MAIN, Floor, Sync, World, world
from realparts.stack import Stack

PARTS = ("core", "pulls", "first", "polls", "scale", "fleet")
KINDS = 8
"""The kinds that sync lists and watches in admission mode: Namespaces and seven kinds of workloads."""

PAGE = 500
"""Objects in one page of a list."""

SYSTEM_NAMESPACES = 5
"""The namespaces of Kubernetes itself, and that of the chart."""

SINGLE_READS = 2
"""Lists of one object: the namespace kube-system, whose uid identifies the cluster, and the newest Event."""


def main() -> int:
    """Run the chosen parts and return the exit code: 0 if every goal is met."""
    parser = argparse.ArgumentParser(prog="python -m bench.sync", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"parts to run, of {','.join(PARTS)}")
    parser.add_argument("--namespaces", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds of each timed pair")
    parser.add_argument("--rest", type=float, default=60, help="how long to measure at rest, in seconds")
    parser.add_argument("--soak", type=int, default=10_000, help="number of changes in the soak")
    parser.add_argument(
        "--nice",
        type=int,
        default=0,
        help="niceness of all processes",
    )
    parser.add_argument("--out", type=Path, help="file that also gets the tables")
    options = parser.parse_args()
    if options.namespaces < 1 or options.rounds < 1:
        parser.error("--namespaces and --rounds must be at least 1")
    if unknown := set(options.parts.split(",")) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    os.nice(options.nice)
    tables = [_run(part, options) for part in options.parts.split(",")]
    text = "\n".join(table.text() for table in tables)
    say("\n" + text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 0 if all(table.held for table in tables) else 1


def _run(part: str, options: argparse.Namespace) -> Table:
    folder = Path(tempfile.mkdtemp(prefix="regcred-bench-"))
    stack = Stack(folder)
    table = Table({"core": f"Sync, {options.namespaces:,} namespaces", **TITLES}[part])
    say(
        f"\n{table.title}: {', '.join(f'{load:.1f}' for load in os.getloadavg())} load on {os.cpu_count()} "
        "cores"
    )
    try:
        asyncio.run(_part(part, stack, options, table))
    finally:
        stack.down()
        shutil.rmtree(folder, ignore_errors=True)
    return table


TITLES = {
    "scale": "Sync, 5,000 namespaces, 20,000 Pods, 10 registries",
    "fleet": "Sync, 10,000 namespaces x 3 registries",
    "pulls": "First pulls on a real node",
    "first": "First Pods in mode serviceaccount on a real node",
    "polls": "Vault under the polls of a large fleet at rest",
}


async def _part(part: str, stack: Stack, options: argparse.Namespace, table: Table) -> None:
    if part in {"pulls", "first", "polls"}:
        await {"pulls": pulls, "first": first_pods, "polls": polls}[part](stack, table)
        return
    async with world(stack) as here:
        if part == "core":
            await Core(here, options, table).run()
        elif part == "scale":
            await scale(here, table, soak=options.soak)
        else:
            await fleet(here, table)


class Core:
    """The basic measurements of one cluster, in the order that needs the least preparation."""

    def __init__(self, here: World, options: argparse.Namespace, table: Table) -> None:
        self.world, self.table = here, table
        self.count, self.rounds, self.rest = options.namespaces, options.rounds, options.rest
        self.sync = Sync(here)
        self.floor = Floor(here)
        self.peak = 0.0

    async def run(self) -> None:
        """Measure everything."""
        here = self.world
        here.allow(MAIN.project)
        here.mint()
        names = [f"bench-{number:05d}" for number in range(self.count)]
        here.mount.grant({MAIN.project: names + Newcomers.names()})
        began = time.monotonic()
        await here.fill(self.count)
        say(f"  created {self.count:,} namespaces with a Deployment each ({time.monotonic() - began:.0f} s)")
        async with here.api.arrivals() as self.arrivals:
            await self._cold_starts()
            await self._restart_and_rest()
            await self.floor.start()
            await self._rotations()
            await self._new_workloads()
            self._keep_peak()
            await self._event_delay()
        await self.floor.stop()
        self.sync.stop()
        self.table.add(
            f"peak memory, {self.count:,} namespaces",
            goal="<= 100 MiB",
            ours=f"{self.peak:.0f} MiB",
            holds=self.peak <= 100,
        )

    def _keep_peak(self) -> None:
        self.peak = max(self.peak, self.sync.cost.peak)

    # Cold start

    async def _cold_starts(self) -> None:
        ours, floors, imports = [], [], []
        for number in range(self.rounds):
            floors.append(await self._floor_creates(number))
            imports.append(await asyncio.to_thread(self.sync.import_seconds))
            if number:
                await self.world.forget(MAIN.secret_name, self.world.spaces)
                self.world.forget_ledger(MAIN.project)
            awaited = self.arrivals.expect(MAIN.secret_name, 1, self.world.spaces)
            started = self.sync.start()
            ours.append(await awaited.all() - started)
            await asyncio.sleep(2)
            self._keep_peak()
            self.sync.stop()
        ratios = [mine / (floor + load) for mine, floor, load in zip(ours, floors, imports, strict=True)]
        ratio = median(ratios)
        self.table.add(
            f"cold start until {self.count:,} Secrets are there, imports included",
            goal="<= 1.5 x (floor + imports)",
            floor=f"{median(floors):.2f} + {median(imports):.2f} s",
            ours=f"{median(ours):.2f} s",
            ratio=ratio,
            holds=ratio <= 1.5,
        )

    async def _floor_creates(self, number: int) -> float:
        if number:
            await self.world.forget(FLOOR.secret_name, self.world.spaces)
        floor = Floor(self.world)
        await floor.start()
        awaited = self.arrivals.expect(FLOOR.secret_name, 1, self.world.spaces)
        started = (await floor.write("POST", 1, self.world.spaces))["started"]
        ended = await awaited.all()
        await floor.stop()
        return ended - started

    # Restart and rest

    async def _restart_and_rest(self) -> None:
        api_audit, vault_audit = self.world.audits()
        self.sync.start(POLL_SECONDS="30")
        await asyncio.sleep(5)
        pages = _pages(self.count + SYSTEM_NAMESPACES) + _pages(self.count) + (KINDS - 2) + SINGLE_READS
        requests = api_audit.counts()
        writes, lists = only(requests, WRITES).total(), only(requests, {"list"}).total()
        self.table.add(
            "restart at steady state",
            goal=f"0 writes, O(pages) reads (<= {pages})",
            ours=f"{writes} writes, {lists} lists, {requests.total()} requests, "
            f"{vault_audit.counts().total()} to Vault",
            holds=writes == 0 and lists <= pages,
        )
        api_audit, vault_audit = self.world.audits()
        self.sync.cost.restart()
        await asyncio.sleep(self.rest)
        share = self.sync.cost.share
        requests, polls = api_audit.counts(), vault_audit.counts()
        index = polls.pop(f"read {INDEX}", 0)
        expected = self.rest / 24  # the interval of 30 s is shortened by up to a fifth
        self.table.add(
            f"at rest for {self.rest:.0f} s, {self.count:,} namespaces",
            goal="no API request but watches; index polls only; <= 1 % of a core",
            ours=f"{requests.total()} API requests, {index} index polls, {polls.total()} other Vault "
            f"requests, {share:.2%}",
            holds=not (requests.total() - only(requests, {"watch"}).total())
            and index <= expected + 1
            and share <= 0.01,
        )
        if polls:
            self.table.note(
                "other Vault requests at rest: "
                f"{', '.join(f'{number} {what}' for what, number in polls.items())}"
            )
        self._keep_peak()
        self.sync.stop()
        self.sync.start(POLL_SECONDS="2")
        await asyncio.sleep(5)

    # Rotations

    async def _rotations(self) -> None:
        ours, floors, delays, cpus, servers, floor_cpus, floor_servers = [], [], [], [], [], [], []
        requests = reads = None
        for number in range(self.rounds):
            server, store = self.world.servers()
            awaited = self.arrivals.expect(FLOOR.secret_name, number + 2, self.world.spaces)
            answer = await self.floor.write("PUT", number + 2, self.world.spaces)
            floors.append(await awaited.all() - answer["started"])
            floor_cpus.append(answer["cpu"])
            floor_servers.append(server.cpu + store.cpu)
            api_audit, vault_audit = self.world.audits()
            server, store = self.world.servers()
            self.sync.cost.restart()
            awaited = self.arrivals.expect(MAIN.secret_name, number + 2, self.world.spaces)
            learned, delay = await self.world.rotate()
            ended = await awaited.all()
            cpus.append(self.sync.cost.cpu)
            servers.append(server.cpu + store.cpu)
            await asyncio.sleep(1.5)  # sync writes the ledger a second later
            ours.append(ended - learned())
            delays.append(delay())
            requests, reads = api_audit.counts(), vault_audit.counts()
            self._keep_peak()
        ratio = median([mine / floor for mine, floor in zip(ours, floors, strict=True)])
        self.table.add(
            f"rotation reaches {self.count:,} namespaces, from learning of it",
            goal="<= 1.5 x floor",
            floor=f"{median(floors):.2f} s",
            ours=f"{median(ours):.2f} s",
            ratio=ratio,
            holds=ratio <= 1.5,
        )
        self.table.note(
            f"before that, a poll every 2 s saw it after {median(delays):.1f} s (30 s unless set: 14 s)"
        )
        self.table.note(
            f"CPU of a rotation: sync {median(cpus):.2f} s (floor {median(floor_cpus):.2f} s), "
            f"API server and etcd {median(servers):.2f} s (floor {median(floor_servers):.2f} s)"
        )
        assert requests is not None
        assert reads is not None
        writes = requests.pop("update secrets", 0)
        credentials = sum(
            number for what, number in reads.items() if what.endswith(f"data/credentials/{MAIN}")
        )
        self.table.add(
            "requests of one rotation",
            goal="one write a namespace, O(1) others; one read of the credential",
            ours=f"{writes} writes, {requests.total()} others; {credentials} credential read, "
            f"{reads.total() - credentials} other Vault requests",
            holds=writes == self.count and requests.total() <= 2 and credentials == 1,
        )

    async def _event_delay(self) -> None:
        """Measure how soon sync learns of a rotation by a Vault event, while it polls only every 300 s."""
        self.sync.stop()
        delays = []
        async with event_proxy(self.world.stack.vault.addr) as vault:
            self.sync.start(VAULT_ADDR=vault.addr, POLL_SECONDS="300")
            await asyncio.sleep(5)
            for _ in range(self.rounds):
                version = self.world.mount.store.credential_version(MAIN) + 1
                awaited = self.arrivals.expect(MAIN.secret_name, version, self.world.spaces)
                _, delay = await self.world.rotate()
                await vault.send_event(INDEX.replace("metadata", "data", 1))
                await awaited.all()
                delays.append(delay())
        self.table.note(
            f"by a (replayed) Vault event, sync learned of a rotation after {median(delays) * 1000:.0f} ms"
        )

    # New workloads

    async def _new_workloads(self) -> None:
        version = self.rounds + 1
        reacting = Floor(self.world)
        await reacting.start()
        await reacting.react(version)
        newcomers = Newcomers(self.world, self.arrivals)
        labels = {"regcred.bench/floor": "true"}
        samples, floors = [], []
        for _ in range(30):
            floors.append(await newcomers.one(FLOOR.secret_name, version, (), labels))
            samples.append(await newcomers.one(MAIN.secret_name, version, (MAIN,)))
        self._add_latency("idle", samples, floors, middle=0.020, tail=0.080)
        samples, floors = [], []
        for number in range(version + 1, version + 1 + self.rounds):
            refresh = self.arrivals.expect(FLOOR.secret_name, number, self.world.spaces)
            writing = asyncio.create_task(self.floor.write("PUT", number, self.world.spaces))
            floors += await newcomers.during(refresh, FLOOR.secret_name, version, (), labels)
            await writing
            refresh = self.arrivals.expect(MAIN.secret_name, number, self.world.spaces)
            await asyncio.to_thread(self.world.mint)
            samples += await newcomers.during(refresh, MAIN.secret_name, number, (MAIN,))
        when = f"during a refresh of {self.count:,}"
        if samples and floors:
            self._add_latency(when, samples, floors, middle=None, tail=0.250)
        else:
            self.table.note(
                f"a new workload {when}: not measured, because the refresh ended before it was created; use "
                "more namespaces"
            )
        await reacting.stop()

    def _add_latency(
        self, when: str, samples: list[float], floors: list[float], *, middle: float | None, tail: float
    ) -> None:
        mine, best = (median(samples), percentile(samples, 0.95)), (median(floors), percentile(floors, 0.95))
        self.table.add(
            f"a new annotated workload in a new namespace, {when} ({len(samples)} samples), median / p95",
            goal=(f"<= {middle * 1000:.0f} / " if middle else "p95 <= ") + f"{tail * 1000:.0f} ms",
            floor=f"{best[0] * 1000:.0f} / {best[1] * 1000:.0f} ms",
            ours=f"{mine[0] * 1000:.0f} / {mine[1] * 1000:.0f} ms",
            ratio=mine[0] / best[0],
            holds=(middle is None or mine[0] <= middle) and mine[1] <= tail,
        )


def _pages(objects: int) -> int:
    """The pages of a list. An empty list is one page, too."""
    return max(1, -(-objects // PAGE))


if __name__ == "__main__":
    sys.exit(main())
