"""Plans what each registry needs, and in which message it is sent. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from regcred.credential import last_quarter
from regcred.errors import MalformedError, RegcredError
from regcred.registry_limit import within_limit
from regcred.registry_reference import Reference
from regcred.rotation_due import due, edited, is_static
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.vault.records.index import Index, IndexEntry, State

EDITS_WITHIN = timedelta(hours=1)
"""How often the version of every definition is read."""

STATIC_EVERY = timedelta(hours=12)
"""How often every static credential is compared with its upstream secret."""

NUDGED_MAX = 500
"""A nudge reads all definitions of a project that has at most this number of registries."""

REPORTED_MAX = 20
"""The maximum number of wrong names of one project that are reported."""

PRIORITY = (
    RotationReason.REVOKE,
    RotationReason.REQUESTED,
    RotationReason.REMOVED,
    RotationReason.DUE,
    RotationReason.NEW,
    RotationReason.EDITED,
    RotationReason.CHECK,
)
"""The order in which a project's work is sent, because it may not fit into one sweep."""

_RANK = {reason: rank for rank, reason in enumerate(PRIORITY)}


ALARM_FOR = timedelta(days=7)
"""How long an expired credential raises an alarm. An abandoned registry must not raise one forever. ``regcred
status`` still shows it."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One run of dispatch.

    ``at`` is the scheduled time, so that a repeated delivery of the schedule's event is the same sweep.
    ``every`` is the interval between runs.
    """

    at: datetime
    every: timedelta = timedelta(minutes=5)

    @property
    def number(self) -> int:
        """The number of the sweep, counted from 1970."""
        return int((self.at - datetime.fromtimestamp(0, UTC)) / self.every)

    def is_turn_of(self, reference: Reference, period: timedelta) -> bool:
        """Whether a reference has its turn in this sweep. It has one turn in each ``period``."""
        slots = max(1, int(period / self.every))
        return (_hash(str(reference)) - self.number) % slots == 0


@dataclass(frozen=True, slots=True)
class Limits:
    """The maximum work that one project can cause."""

    chunk: int = 20
    """The maximum number of registries in one message."""
    messages: int = 150
    """The maximum number of messages of one project in a sweep. The next sweep sends the rest."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What a sweep has read about one project."""

    project: str
    registries: Sequence[str]
    """The registries within the project's limit."""
    requests: Collection[str]
    index: Index
    left_out: int = 0
    """The number of registries over the project's limit."""
    unreadable: Mapping[str, RegcredError] = field(default_factory=dict)
    """The errors about names that are not valid names of registries."""
    definitions: Mapping[str, int] = field(default_factory=dict)
    """The versions of the definitions that were read."""

    @classmethod
    def of(
        cls, project: str, *, names: Iterable[str], requests: Iterable[str], index: Index, limit: int
    ) -> Observed:
        """Select the registries within the limit from what Vault lists.

        Args:
            project: The project.
            names: The names in its folder of definitions. They may be invalid.
            requests: The registries with a request.
            index: The project's index.
            limit: The maximum number of registries that it may have.
        """
        good, unreadable = valid_names(project, names)
        within = within_limit(good, index, limit=limit)
        return cls(
            project=project,
            registries=within,
            requests=frozenset(requests),
            index=index,
            left_out=len(good) - len(within),
            unreadable=unreadable,
        )


def valid_names(project: str, names: Iterable[str]) -> tuple[list[str], dict[str, RegcredError]]:
    """Split names into valid names of registries and at most :data:`REPORTED_MAX` errors about others."""
    good: list[str] = []
    bad: dict[str, RegcredError] = {}
    more = 0
    for name in names:
        try:
            good.append(Reference(project, name).registry)
        except MalformedError as error:
            if len(bad) < REPORTED_MAX:
                bad[f"{project}/{name[:80]}"] = error
            else:
                more += 1
    if more:
        bad[f"{project}/…"] = MalformedError(f"{more} more names are not valid names of registries")
    return good, bad


def definitions_to_read(observed: Observed, sweep: Sweep, *, nudged: bool) -> list[str]:
    """The registries whose definition version this sweep reads."""
    entries = observed.index.registries
    all_of_them = nudged and len(observed.registries) <= NUDGED_MAX
    return [
        name
        for name in observed.registries
        if name in entries
        and entries[name].state is not State.REVOKED
        and (all_of_them or sweep.is_turn_of(Reference(observed.project, name), EDITS_WITHIN))
    ]


def plan(observed: Observed, sweep: Sweep) -> dict[str, RotationReason]:
    """The registries that need work, each with the reason."""
    requests = frozenset(observed.requests)
    found = {name: _reason(name, requests, observed, sweep) for name in observed.registries}
    wanted = {name: reason for name, reason in found.items() if reason is not None}
    gone = {
        name: RotationReason.REMOVED
        for name, entry in observed.index.registries.items()
        if name not in found and entry.state is not State.REMOVED
    }
    gone |= {name: RotationReason.REMOVED for name in observed.index.marks if name not in found}
    return wanted | gone


def _reason(name: str, requests: frozenset[str], observed: Observed, sweep: Sweep) -> RotationReason | None:
    entry = observed.index.registries.get(name)
    if name in requests:
        return RotationReason.REQUESTED
    if reason := due(entry, now=sweep.at):
        return reason
    if entry is None:
        return None
    if name in observed.definitions and edited(entry, observed.definitions[name]):
        return RotationReason.EDITED
    if is_static(entry) and sweep.is_turn_of(Reference(observed.project, name), STATIC_EVERY):
        return RotationReason.CHECK
    return None


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message, its deduplication ID, and the group in which it keeps its order."""

    message: RotationMessage
    deduplication_id: str

    @classmethod
    def of(cls, message: RotationMessage, sweep: Sweep) -> QueuedMessage:
        """Add the deduplication ID: the same for the same content in one sweep, and another in the next."""
        text = f"{sweep.at.isoformat()} {message.body()}"
        return cls(message, hashlib.sha256(text.encode()).hexdigest())

    def traced(self, traceparent: str) -> QueuedMessage:
        """The same message as a step of a trace. Its deduplication ID stays, so a repetition is dropped."""
        return replace(self, message=self.message.model_copy(update={"traceparent": traceparent}))

    @property
    def group(self) -> str:
        """The message group: the project, so that its rotations do not overlap.

        Revocations have a separate group, so that they don't wait for rotations. This is safe, because each
        run claims its registry.
        """
        project = self.message.project
        urgent = all(reason is RotationReason.REVOKE for reason in self.message.registries.values())
        return f"{project}/revoke" if urgent else project


def envelopes(
    project: str, wanted: Mapping[str, RotationReason], sweep: Sweep, limits: Limits
) -> Iterator[QueuedMessage]:
    """The messages of one project in the order of :data:`PRIORITY`, up to its limit.

    The order of registries with the same reason changes with each sweep, so that the limit does not always
    leave out the same ones.
    """
    few = len(wanted) <= limits.chunk * limits.messages
    order = (lambda name: name) if few else (lambda name: f"{_hash(f'{name} {sweep.number}'):020}")
    ordered = sorted(wanted.items(), key=lambda item: (_RANK[item[1]], order(item[0])))
    for start in range(0, min(len(ordered), limits.chunk * limits.messages), limits.chunk):
        part = dict(ordered[start : start + limits.chunk])
        yield QueuedMessage.of(RotationMessage(project=project, registries=part), sweep)


@dataclass(frozen=True, slots=True)
class Health:
    """A summary of the indexes, for metrics and alarms."""

    registries: int = 0
    failing: int = 0
    last_quarter: int = 0
    """Credentials in the last quarter of their life."""
    expired: int = 0
    """Credentials that expired within :data:`ALARM_FOR`."""

    def __add__(self, other: Health) -> Health:
        return Health(
            self.registries + other.registries,
            self.failing + other.failing,
            self.last_quarter + other.last_quarter,
            self.expired + other.expired,
        )


def health(entries: Iterable[IndexEntry], *, now: datetime) -> Health:
    """Count what the alarms use."""
    alive = [entry for entry in entries if entry.state in (State.OK, State.FAILING)]
    ends = [
        (entry.expires_at, at)
        for entry in alive
        if entry.version and entry.expires_at and (at := last_quarter(entry.expires_at, entry.refresh_at))
    ]
    return Health(
        registries=len(alive),
        failing=sum(entry.state is State.FAILING for entry in alive),
        last_quarter=sum(at <= now < expires_at for expires_at, at in ends),
        expired=sum(expires_at <= now < expires_at + ALARM_FOR for expires_at, _ in ends),
    )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
