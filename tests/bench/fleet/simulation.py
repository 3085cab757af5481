"""The simulation: sweeps of dispatch, deliveries to rotate, and checks for expired credentials."""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from fakes.cloud import FakeAnnouncer, FakeIdentities, FakeVerifier

from bench.fleet.inline import inline
from bench.fleet.queue import RECEIVES, VISIBILITY, Queue
from bench.fleet.result import Result
from bench.fleet.time import START, SWEEP, Clock, Outages, Window
from bench.fleet.vault import Vault
from bench.fleet.vendors import KINDS, Vendors
from regcred.dispatch import Dispatch, Sweep
from regcred.errors import RegcredError
from regcred.registry_reference import Reference
from regcred.rotate import Rotate, RotationResult
from regcred.vault.records.declared import Definition, ProjectPolicy
from regcred.vault.records.index import Index, IndexEntry
from regcred.vault.records.paths import index_path
from regcred.vault.store import Store

PER_PROJECT = 20


class Fleet:
    """The simulation. The seed decides everything random."""

    def __init__(self, registries: int, *, seed: int = 1, lambdas: int = 10) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.vault_outages = Outages()
        self.outages = {name: Outages() for name in KINDS}
        self.vendors = Vendors(self.clock, KINDS, self.outages, self.rng)
        self.vault = Vault(self.clock, self.vault_outages)
        self.store = Store(self.vault)
        self.queue = Queue(self.clock, self.rng, lost=0.01, doubled=0.01)
        self.dispatch = Dispatch(self.store, self.queue, workers=1)
        self.rotate = Rotate(
            store=self.store,
            provider_for=lambda _name: self.vendors,
            identities=FakeIdentities(),
            verifier=FakeVerifier(verified=_Forgetful()),
            announcer=FakeAnnouncer(events=_Forgetful()),
            now=self.clock,
            workers=1,
            sleep=lambda _: None,  # the simulated vendors limit the rate
        )
        self.free = [START] * lambdas
        self.hidden: dict[str, datetime] = {}
        self.received: Counter[str] = Counter()
        self.parsed: dict[str, tuple[str, Mapping[str, IndexEntry]]] = {}
        self.rotations = self.excused = 0
        self.expired: list[str] = []
        self.references = self._register(registries)
        self.watch: Callable[[datetime], None] = lambda _at: None
        """Called after each sweep, to show progress."""
        self.projects = sorted({reference.project for reference in self.references})

    def _register(self, count: int) -> list[Reference]:
        references = []
        kinds = self.rng.choices(list(KINDS), [kind.share for kind in KINDS.values()], k=count)
        for number, name in enumerate(kinds):
            reference = Reference(f"project-{number // PER_PROJECT}", f"registry-{number % PER_PROJECT}")
            if number % PER_PROJECT == 0:
                policy = ProjectPolicy(hosts=["registry.example.com"])
                self.store.write_project(reference.project, policy, cas=0)
            content = {"provider": "basic", "hosts": ["registry.example.com"], "description": name}
            self.store.write_definition(reference, Definition.model_validate(content), cas=0)
            self.vendors.account[reference] = (name, self.rng.randrange(KINDS[name].accounts))
            references.append(reference)
        return references

    def plan_outages(self, days: float) -> None:
        """Plan random outages: of vendors up to 60 % of a credential's life, of Vault up to 40 minutes."""
        end = START + timedelta(days=days)
        for name, kind in KINDS.items():
            life = kind.life or timedelta(hours=12)
            self.outages[name].windows = self._windows(end, every=life * 4, longest=life * 0.6)
        self.vault_outages.windows = self._windows(
            end, every=timedelta(days=1), longest=timedelta(minutes=40)
        )

    def _windows(self, end: datetime, *, every: timedelta, longest: timedelta) -> list[Window]:
        windows, time = [], START + timedelta(hours=2)
        while time < end:
            time += every * self.rng.uniform(0.5, 1.5)
            length = longest * self.rng.uniform(0.1, 1.0)
            windows.append((time, time + length))
            time += length
        return windows

    def run(self, days: float) -> Result:
        began = time.monotonic()
        with inline():
            for number in range(int(timedelta(days=days) / SWEEP)):
                at = START + SWEEP * number
                self._sweep(at)
                self._check_expiry(at)
                self.watch(at)
        peak: dict[str, int] = {}
        for (name, _account, _second), count in self.vendors.per_second.items():
            peak[name] = max(peak.get(name, 0), min(count, int(KINDS[name].per_second)))
        return Result(
            registries=len(self.references),
            days=days,
            rotations=self.rotations,
            expired=self.expired,
            excused=self.excused,
            calls=self.vendors.calls,
            throttled=self.vendors.throttled,
            down=self.vendors.down,
            peak=peak,
            queue=self.queue.counts,
            seconds=time.monotonic() - began,
        )

    def _sweep(self, at: datetime) -> None:
        self.clock.time = at
        try:
            self.dispatch.run(Sweep(at, SWEEP))
        except RegcredError:
            self.queue.counts["sweeps without Vault"] += 1
        self._drain(at, until=at + SWEEP)

    def _drain(self, at: datetime, *, until: datetime) -> None:
        """Deliver waiting messages to the Lambdas until the next sweep, one at a time per project."""
        groups = [project for project, envelopes in self.queue.waiting.items() if envelopes]
        self.rng.shuffle(groups)
        heapq.heapify(self.free)
        for project in groups:
            time = max(heapq.heappop(self.free), at, self.hidden.pop(project, at))
            while self.queue.waiting[project] and time < until:
                time = self._deliver(project, time)
                if project in self.hidden:
                    break
            heapq.heappush(self.free, min(time, until))
        for project in groups:
            if not self.queue.waiting[project]:
                del self.queue.waiting[project]

    def _deliver(self, project: str, begins: datetime) -> datetime:
        """Run one invocation, and return when it ends.

        A message that fails hides its project until the visibility time-out.
        """
        begins += timedelta(seconds=self.rng.uniform(0, 3))  # delay of SQS and Lambda
        self.clock.time = begins
        envelope = self.queue.waiting[project][0]
        try:
            report = self.rotate.run(envelope.message, owner=f"{self.rng.getrandbits(64):x}")
            report.check()
        except RegcredError:
            self.queue.counts["deliveries without Vault"] += 1
            self.received[envelope.deduplication_id] += 1
            if self.received[envelope.deduplication_id] == RECEIVES:
                self.queue.counts["dead letters"] += 1
                self.queue.waiting[project].pop(0)
            self.hidden[project] = begins + VISIBILITY
            return begins + timedelta(seconds=1)
        self.queue.waiting[project].pop(0)
        self.rotations += sum(outcome.done is RotationResult.ROTATED for outcome in report.outcomes)
        names = envelope.message.registries
        slowest = max(KINDS[self.vendors.account[Reference(project, name)][0]].latency for name in names)
        return begins + slowest * (1 + len(names) // 8) + timedelta(milliseconds=100)

    def _check_expiry(self, at: datetime) -> None:
        """Record each credential that has expired since the last sweep, and whether it could be renewed."""
        for project in self.projects:
            for name, entry in self._index(project).items():
                if entry.expires_at is None or not at - SWEEP < entry.expires_at <= at:
                    continue
                reference = Reference(project, name)
                if self._was_renewable(reference, entry):
                    self.expired.append(f"{reference} expired at {entry.expires_at:%d %H:%M}: {entry.error}")
                else:
                    self.excused += 1

    def _index(self, project: str) -> Mapping[str, IndexEntry]:
        """A project's entries, read even during outages of Vault, and parsed only after a change."""
        text = self.vault.text(index_path(project))
        if self.parsed.get(project, ("",))[0] != text:
            self.parsed[project] = (text, Index.model_validate_json(text).registries)
        return self.parsed[project][1] if project in self.parsed else {}

    def _was_renewable(self, reference: Reference, entry: IndexEntry) -> bool:
        """Whether vendor and Vault were both reachable for a continuous quarter of the life."""
        name, _ = self.vendors.account[reference]
        assert entry.refresh_at
        assert entry.expires_at
        life = KINDS[name].life
        assert life
        free = entry.refresh_at
        away = sorted([*self.outages[name].windows, *self.vault_outages.windows])
        for begin, end in away:
            if end <= free or begin >= entry.expires_at:
                continue
            if begin - free >= life / 4:
                return True
            free = max(free, end)
        return entry.expires_at - free >= life / 4


class _Forgetful(list[Any]):
    """A list that drops its items, because a million events would fill the memory."""

    def append(self, _item: Any) -> None:
        return

    def extend(self, _items: Any) -> None:
        return
