"""The verb dispatch: decide what is due, and hand it to rotate in messages. It changes nothing and mints nothing.

It reads O(projects) per sweep: two lists and the index of each. What no list shows (an edited definition, a static
credential that has drifted) is looked at in slices: each registry has a slot derived from its reference, so all
are met within the hour (edits) or the half day (static ones), without any state of dispatch's own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from regcred.errors import MalformedError, RegcredError, TransientError
from regcred.reference import Reference
from regcred.vault.records.index import Index, IndexEntry, State
from regcred.vault.store import Store
from regcred.work import Message, Reason, due, edited, is_static, last_quarter

EDITS_WITHIN = timedelta(hours=1)
"""Every definition's version is looked at this often."""

STATIC_EVERY = timedelta(hours=12)
"""Every static credential is compared with its upstream this often."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One run: the time it stands for, and how often runs come.

    ``at`` is the scheduled time, so that the scheduler's double deliveries are the same sweep.
    """

    at: datetime
    every: timedelta = timedelta(minutes=5)

    @property
    def number(self) -> int:
        """The running number of the sweep since 1970."""
        return int((self.at - datetime.fromtimestamp(0, UTC)) / self.every)

    def meets(self, reference: Reference, period: timedelta) -> bool:
        """Whether this is the one sweep in ``period`` that looks at this reference."""
        slots = max(1, int(period / self.every))
        return (_hash(str(reference)) - self.number) % slots == 0


@dataclass(frozen=True, slots=True)
class Observed:
    """What Vault says of one project."""

    project: str
    registries: Sequence[str]
    requests: Sequence[str]
    index: Index
    unreadable: Mapping[str, RegcredError] = field(default_factory=dict)
    """Names that are no registry's."""
    definitions: Mapping[str, int] = field(default_factory=dict)
    """The versions of those definitions that were looked at."""


def to_look_at(observed: Observed, sweep: Sweep, *, all_of_them: bool) -> list[str]:
    """The registries whose definition's version this sweep reads."""
    entries = observed.index.registries
    return [
        name
        for name in observed.registries
        if name in entries
        and entries[name].state is not State.REVOKED
        and (all_of_them or sweep.meets(Reference(observed.project, name), EDITS_WITHIN))
    ]


def plan(observed: Observed, sweep: Sweep) -> dict[str, Reason]:
    """What is new, due, asked for, edited, to check or gone, by registry. Pure."""
    defined = set(observed.registries)
    found = {name: _reason(name, observed, sweep) for name in observed.registries}
    wanted = {name: reason for name, reason in found.items() if reason is not None}
    gone = {
        name: Reason.REMOVED
        for name, entry in observed.index.registries.items()
        if name not in defined and entry.state is not State.REMOVED
    }
    return wanted | gone


def _reason(name: str, observed: Observed, sweep: Sweep) -> Reason | None:
    entry = observed.index.registries.get(name)
    if name in observed.requests:
        return Reason.ASKED
    if reason := due(entry, now=sweep.at):
        return reason
    if entry is None:
        return None
    if name in observed.definitions and edited(entry, observed.definitions[name]):
        return Reason.EDITED
    if is_static(entry) and sweep.meets(Reference(observed.project, name), STATIC_EVERY):
        return Reason.CHECK
    return None


class QueueError(TransientError):
    """Messages were not taken; nothing is wrong with Vault, and the next sweep sends them again."""


class Queue(Protocol):
    """Where messages go: in order within a project, projects side by side, equal ids within minutes dropped."""

    def send(self, messages: Sequence[Envelope]) -> None:
        """Send all messages.

        Raises:
            TransientError: some or all were not taken; the next sweep sends them again.
            RefusedError: the caller may not send.
        """


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message and the id under which a second one like it is dropped."""

    message: Message
    deduplication_id: str

    @classmethod
    def of(cls, message: Message, sweep: Sweep) -> Envelope:
        """Seal a message: the same content in the same sweep has the same id, in the next sweep another."""
        text = f"{sweep.at.isoformat()} {message.body()}"
        return cls(message, hashlib.sha256(text.encode()).hexdigest())


def envelopes(project: str, wanted: Mapping[str, Reason], sweep: Sweep, *, chunk: int) -> Iterator[Envelope]:
    """The messages of one project, ``chunk`` registries in each."""
    ordered = sorted(wanted.items())
    for start in range(0, len(ordered), chunk):
        yield Envelope.of(Message(project=project, registries=dict(ordered[start : start + chunk])), sweep)


@dataclass(frozen=True, slots=True)
class Health:
    """What the indexes tell of a fleet, for metrics and alarms."""

    registries: int = 0
    failing: int = 0
    last_quarter: int = 0
    """Credentials that are in the last quarter of their life."""
    expired: int = 0

    def __add__(self, other: Health) -> Health:
        return Health(
            self.registries + other.registries,
            self.failing + other.failing,
            self.last_quarter + other.last_quarter,
            self.expired + other.expired,
        )


def health(entries: Iterable[IndexEntry], *, now: datetime) -> Health:
    """Count what an alarm asks for."""
    alive = [entry for entry in entries if entry.state in (State.OK, State.FAILING)]
    quarter = [entry for entry in alive if entry.version and (at := last_quarter(entry)) and at <= now]
    return Health(
        registries=len(alive),
        failing=sum(entry.state is State.FAILING for entry in alive),
        last_quarter=len(quarter),
        expired=sum(entry.expires_at is not None and entry.expires_at <= now for entry in quarter),
    )


@dataclass(frozen=True, slots=True)
class Report:
    """What a sweep found and sent."""

    projects: int
    messages: int
    reasons: Mapping[Reason, int]
    health: Health
    unreadable: Mapping[str, RegcredError]
    """By project or reference, why it could not be read. It was left alone; all others were served."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The verb over its interfaces."""

    store: Store
    queue: Queue
    chunk: int = 20
    """Registries in one message."""
    workers: int = 8
    """Projects read side by side."""

    def run(self, sweep: Sweep, *, only: str | None = None) -> Report:
        """Look at all projects, or at one (a nudge), and send what is wanted.

        Args:
            sweep: Which run this is.
            only: The one project to look at, with all its definitions; it needs no authority, since what is done
                is decided from Vault alone.

        Raises:
            QueueError: messages were not taken.
            RegcredError: the projects could not be listed, or we may not send.
        """
        projects = [only] if only else self.store.projects()
        read: dict[str, Observed] = {}
        unreadable: dict[str, RegcredError] = {}
        with ThreadPoolExecutor(max_workers=max(1, min(self.workers, len(projects)))) as pool:
            futures = {
                name: pool.submit(self._observe, name, sweep, all_of_them=bool(only)) for name in projects
            }
            for name, future in futures.items():
                try:
                    read[name] = future.result()
                except RegcredError as error:
                    unreadable[name] = error
        for observed in read.values():
            unreadable |= observed.unreadable
        wanted = {name: plan(observed, sweep) for name, observed in read.items()}
        sealed = [
            envelope for name in wanted for envelope in envelopes(name, wanted[name], sweep, chunk=self.chunk)
        ]
        if sealed:
            self._send(sealed)
        return Report(
            projects=len(projects),
            messages=len(sealed),
            reasons=Counter(reason for reasons in wanted.values() for reason in reasons.values()),
            health=sum(
                (health(observed.index.registries.values(), now=sweep.at) for observed in read.values()),
                Health(),
            ),
            unreadable=unreadable,
        )

    def _send(self, sealed: Sequence[Envelope]) -> None:
        try:
            self.queue.send(sealed)
        except TransientError as error:
            raise QueueError(str(error), retry_after=error.retry_after) from None

    def _observe(self, project: str, sweep: Sweep, *, all_of_them: bool) -> Observed:
        """Read one project; its index before its lists, so that a registry just added is never taken for gone."""
        found = self.store.index(project)
        names, unreadable = _registries(project, self.store.registries(project))
        observed = Observed(
            project=project,
            registries=names,
            requests=self.store.requests(project),
            index=found.value if found else Index(),
            unreadable=unreadable,
        )
        versions = {
            name: self.store.definition_version(Reference(project, name))
            for name in to_look_at(observed, sweep, all_of_them=all_of_them)
        }
        return replace(observed, definitions=versions)


def _registries(project: str, names: Iterable[str]) -> tuple[list[str], dict[str, RegcredError]]:
    good: list[str] = []
    bad: dict[str, RegcredError] = {}
    for name in names:
        try:
            good.append(Reference(project, name).registry)
        except MalformedError as error:
            bad[f"{project}/{name}"] = error
    return good, bad


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
