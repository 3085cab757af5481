"""A fleet of registries over simulated days: dispatch and rotate themselves, over a Vault, a queue and vendors in memory.

Vendors and Vault go away and come back, vendors throttle, messages get lost and come twice. What must hold: no credential expires
if its vendor was reachable (and Vault was) for one window of a quarter of its life after refresh_at.

    python -m bench.fleet --registries 10000 --days 7
"""

from __future__ import annotations

import argparse
import heapq
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from fakes.cloud import FakeAnnouncer, FakeIdentities, FakeVerifier
from fakes.key_value import FakeKeyValue
from pydantic import SecretStr

import regcred.dispatch
import regcred.rotate.verb
from bench.table import say
from regcred.credential import Credential, Login
from regcred.dispatch import Dispatch, Envelope, Sweep
from regcred.errors import RegcredError, TransientError
from regcred.reference import Reference
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import MintContext, Revoked
from regcred.rotate import Done, Rotate
from regcred.vault.records.declared import Definition, ProjectPolicy
from regcred.vault.records.index import Index, IndexEntry
from regcred.vault.records.paths import index_path
from regcred.vault.store import Store

START = datetime(2026, 11, 2, tzinfo=UTC)
SWEEP = timedelta(minutes=5)
VISIBILITY = timedelta(minutes=6)
RECEIVES = 3
"""How often a message is delivered before it is a dead letter."""
PER_PROJECT = 20

Window = tuple[datetime, datetime]


@dataclass(frozen=True)
class Kind:
    """A kind of vendor: what share of the fleet it has, and how it behaves."""

    share: float
    life: timedelta | None
    per_second: float
    """Calls that one account takes in a second; more are throttled."""
    latency: timedelta
    accounts: int


KINDS: Mapping[str, Kind] = {
    "ecr": Kind(0.70, timedelta(hours=12), 20, timedelta(milliseconds=150), 40),
    "acr": Kind(0.08, timedelta(hours=3), 10, timedelta(milliseconds=300), 10),
    "google": Kind(0.04, timedelta(hours=1), 10, timedelta(milliseconds=250), 10),
    "static": Kind(0.18, None, 5, timedelta(milliseconds=200), 50),
}


@dataclass
class Clock:
    """The simulated time, as whoever runs now sees it."""

    time: datetime = START

    def __call__(self) -> datetime:
        return self.time


@dataclass
class Outages:
    """When somebody can't be reached."""

    windows: list[Window] = field(default_factory=list)

    def at(self, time: datetime) -> bool:
        return any(begin <= time < end for begin, end in self.windows)


class Vault(FakeKeyValue):
    """A Vault that goes away at times."""

    def __init__(self, clock: Clock, outages: Outages) -> None:
        super().__init__()
        self._clock, self._outages = clock, outages
        self._lists: dict[str, tuple[int, list[str]]] = {}

    def _meet(self, operation: str, path: str) -> None:
        if self._outages.windows and self._outages.at(self._clock()):
            raise TransientError("Vault is out of reach")

    def list(self, folder: str) -> list[str]:
        """As the fake, which looks at all paths; that is too slow for a large fleet, so the answer is kept."""
        self._meet("list", folder)
        size, names = self._lists.get(folder, (0, []))
        if size != len(self._entries):
            names = super().list(folder)
            self._lists[folder] = (len(self._entries), names)
        return names

    def text(self, path: str) -> str:
        """A document's text, for who watches the simulation."""
        entry = self._entries.get(path)
        return entry.versions[entry.newest]["document"] if entry else ""


@dataclass
class Vendors:
    """All vendors: a mint goes to the account of its registry."""

    clock: Clock
    kinds: Mapping[str, Kind]
    outages: Mapping[str, Outages]
    rng: random.Random
    account: dict[Reference, tuple[str, int]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    throttled: Counter[str] = field(default_factory=Counter)
    down: Counter[str] = field(default_factory=Counter)
    per_second: Counter[tuple[str, int, int]] = field(default_factory=Counter)

    def is_static(self, definition: BaseDefinition) -> bool:
        return definition.description == "static"

    def mint(self, definition: BaseDefinition, context: MintContext) -> Credential:
        name, account = self.account[context.reference]
        kind = self.kinds[name]
        now = context.now()
        self.calls[name] += 1
        if self.outages[name].at(now):
            self.down[name] += 1
            raise TransientError(f"{name} is out of reach")
        second = (name, account, int(now.timestamp()))
        self.per_second[second] += 1
        if self.per_second[second] > kind.per_second:
            self.throttled[name] += 1
            raise TransientError(f"{name}: throttled", retry_after=timedelta(seconds=30))
        password = "static" if kind.life is None else f"{self.rng.getrandbits(64):x}"
        return Credential(
            provider="basic",
            logins=(Login("user", SecretStr(password), ("registry.example.com",)),),
            issued_at=now,
            expires_at=kind.life and now + kind.life,
        )

    def revoke(self, definition: BaseDefinition, revocation_id: str, context: MintContext) -> Revoked:
        return Revoked.UNSUPPORTED


@dataclass
class Queue:
    """SQS FIFO: order within a group, a group blocked while one of its messages is out, losses and doubles on purpose."""

    clock: Clock
    rng: random.Random
    lost: float
    doubled: float
    waiting: dict[str, list[Envelope]] = field(default_factory=lambda: defaultdict(list))
    seen: dict[str, datetime] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def send(self, messages: Sequence[Envelope]) -> None:
        now = self.clock()
        for envelope in messages:
            self.counts["sent"] += 1
            if now - self.seen.get(envelope.deduplication_id, START - SWEEP) < timedelta(minutes=5):
                self.counts["deduplicated"] += 1
                continue
            self.seen[envelope.deduplication_id] = now
            if self.rng.random() < self.lost:
                self.counts["lost"] += 1
                continue
            self.waiting[envelope.message.project].append(envelope)
            if self.rng.random() < self.doubled:
                self.counts["doubled"] += 1
                self.waiting[envelope.message.project].append(envelope)


@dataclass
class Result:
    """What a simulation showed."""

    registries: int
    days: float
    rotations: int
    expired: list[str]
    """Credentials that expired although they could have been renewed: must be empty."""
    excused: int
    """Credentials that expired because their vendor or Vault was away for too long."""
    calls: Mapping[str, int]
    throttled: Mapping[str, int]
    down: Mapping[str, int]
    peak: Mapping[str, int]
    queue: Mapping[str, int]
    seconds: float

    def lines(self) -> list[str]:
        """The result for people."""
        told = [
            f"{self.registries} registries, {self.days:g} days: {self.rotations} rotations in {self.seconds:.0f} s",
            f"expired though reachable: {len(self.expired)}; expired in long outages: {self.excused}",
            f"messages: {dict(self.queue)}",
        ]
        told += [
            f"{name:8} {self.calls[name]:8} calls, {self.down.get(name, 0):6} in outages, "
            f"{self.throttled.get(name, 0):6} throttled, at most {self.peak.get(name, 0)} a second and account"
            for name in sorted(self.calls)
        ]
        return told


class Fleet:
    """The simulation. Everything random comes from the seed."""

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
            verifier=FakeVerifier(asked=_Forgetful()),
            announcer=FakeAnnouncer(events=_Forgetful()),
            now=self.clock,
            workers=1,
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
        """Outages at random: of vendors up to 60 % of their credentials' life, of Vault up to 40 minutes."""
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
                self._look(at)
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
        """Let the Lambdas work on what waits, each project by one at a time, until the next sweep."""
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
        """One invocation; the time it ends. A message that fails hides its project until the visibility time-out."""
        begins += timedelta(seconds=self.rng.uniform(0, 3))  # what SQS and Lambda take
        self.clock.time = begins
        envelope = self.queue.waiting[project][0]
        try:
            outcomes = self.rotate.run(envelope.message, owner=f"{self.rng.getrandbits(64):x}")
        except RegcredError:
            self.queue.counts["deliveries without Vault"] += 1
            self.received[envelope.deduplication_id] += 1
            if self.received[envelope.deduplication_id] == RECEIVES:
                self.queue.counts["dead letters"] += 1
                self.queue.waiting[project].pop(0)
            self.hidden[project] = begins + VISIBILITY
            return begins + timedelta(seconds=1)
        self.queue.waiting[project].pop(0)
        self.rotations += sum(outcome.done is Done.ROTATED for outcome in outcomes)
        names = envelope.message.registries
        slowest = max(KINDS[self.vendors.account[Reference(project, name)][0]].latency for name in names)
        return begins + slowest * (1 + len(names) // 8) + timedelta(milliseconds=100)

    def _look(self, at: datetime) -> None:
        """Note each credential that has expired since the last look, and whether it had a chance."""
        for project in self.projects:
            for name, entry in self._index(project).items():
                if entry.expires_at is None or not at - SWEEP < entry.expires_at <= at:
                    continue
                reference = Reference(project, name)
                if self._had_a_chance(reference, entry):
                    self.expired.append(f"{reference} expired at {entry.expires_at:%d %H:%M}: {entry.error}")
                else:
                    self.excused += 1

    def _index(self, project: str) -> Mapping[str, IndexEntry]:
        """A project's entries, read past Vault's outages and parsed only when they changed."""
        text = self.vault.text(index_path(project))
        if self.parsed.get(project, ("",))[0] != text:
            self.parsed[project] = (text, Index.model_validate_json(text).registries)
        return self.parsed[project][1] if project in self.parsed else {}

    def _had_a_chance(self, reference: Reference, entry: IndexEntry) -> bool:
        """Whether vendor and Vault were reachable for a quarter of the life without a break after refresh_at."""
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


class Inline:
    """Runs at once what a pool would run in threads: the same every time, and quicker where nothing waits."""

    def __init__(self, *, max_workers: int) -> None:
        del max_workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return

    def submit(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except RegcredError as error:
            future.set_exception(error)
        return future

    def map(self, call: Callable[..., Any], *items: Iterable[Any]) -> list[Any]:
        """All results."""
        return list(map(call, *items))


@contextmanager
def inline() -> Iterator[None]:
    """Let dispatch and rotate work without threads."""
    modules = (regcred.dispatch, regcred.rotate.verb)
    for module in modules:
        module.ThreadPoolExecutor = Inline  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in modules:
            module.ThreadPoolExecutor = ThreadPoolExecutor  # type: ignore[attr-defined]


class _Forgetful(list[Any]):
    """A list that keeps nothing: a million events would only fill memory."""

    def append(self, _item: Any) -> None:
        return

    def extend(self, _items: Any) -> None:
        return


def simulate(registries: int, days: float, *, seed: int = 1, progress: bool = False) -> Result:
    """Run a fleet with outages of everybody."""
    fleet = Fleet(registries, seed=seed)
    fleet.plan_outages(days)
    if progress:
        fleet.watch = lambda at: say(f"  day {(at - START).days}") if at.hour + at.minute == 0 else None
    return fleet.run(days)


def main() -> int:
    """Run `python -m bench.fleet`; exit code 1 if a credential expired that need not have."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registries", type=int, default=10_000)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    result = simulate(arguments.registries, arguments.days, seed=arguments.seed, progress=True)
    print("\n".join([*result.lines(), *result.expired[:20]]))
    return int(bool(result.expired))


if __name__ == "__main__":
    raise SystemExit(main())
