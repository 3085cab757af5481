"""The health of all registries: what expires, what needs attention, and the remedies. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from regcred.console.fleet import PENDING, QUIET, Fleet, RegistryRow, Tally
from regcred.vault.records.index import State
from regcred.vault.records.status import Status
from regcred.views.placement import refusal, remedy
from regcred.wording import duration, plural

SILENT = timedelta(minutes=25)
"""The age at which a status is too old. Sync writes it on change, and every ten minutes as a heartbeat."""

HOURS = 24


@dataclass(frozen=True, slots=True)
class Need:
    """Something that needs attention."""

    about: str
    """A registry, a cluster or a project."""
    path: str
    """The page with the details."""
    what: str
    todo: str
    grave: bool = True


@dataclass(frozen=True, slots=True)
class Hour:
    """The credentials that expire within one hour of the next day."""

    start: datetime
    count: int
    at_risk: int
    """How many of them belong to failing registries, which renew nothing."""


def life_left(row: RegistryRow, now: datetime) -> float | None:
    """The remaining share of a credential's life (0 to 1); None if it has no expiry or is not valid.

    ``refresh_at`` is half of the life (a little less, because of jitter). So the index alone is enough to
    know the whole life.
    """
    if row.expires_at is None or row.entry is None or row.entry.refresh_at is None:
        return None
    life = (row.expires_at - row.entry.refresh_at) * 2
    if life <= timedelta(0):
        return 0.0
    return max(0.0, min(1.0, (row.expires_at - now) / life))


def is_expiring(row: RegistryRow, now: datetime) -> bool:
    """Whether a credential is in the last quarter of its life, or has expired.

    It should have been renewed at half.
    """
    left = life_left(row, now)
    return row.expired(now) or (left is not None and left < 0.25)  # noqa: PLR2004 - a quarter


def counts(rows: Sequence[RegistryRow], now: datetime) -> dict[str, int]:
    """How many registries are in each state, and how many expire soon."""
    found = Counter(row.state for row in rows)
    words = (*(state.value for state in State), PENDING)
    return {word: found[word] for word in words} | {"expiring": sum(is_expiring(row, now) for row in rows)}


def day_ahead(rows: Iterable[RegistryRow], now: datetime) -> list[Hour]:
    """For each of the next 24 hours: the credentials that expire in it unless they are renewed before."""
    total, risk = [0] * HOURS, [0] * HOURS
    for row in rows:
        if row.expires_at is None:
            continue
        hour = int((row.expires_at - now) / timedelta(hours=1))
        if 0 <= hour < HOURS and row.expires_at > now:
            total[hour] += 1
            risk[hour] += row.state == State.FAILING
    return [Hour(now + timedelta(hours=hour), total[hour], risk[hour]) for hour in range(HOURS)]


def needs(fleet: Fleet, now: datetime, most: int = 30) -> tuple[list[Need], int]:
    """What needs attention, most severe first, and the total number."""
    found = [
        *(need for row in fleet.rows for need in row_needs(row, now)),
        *_of_clusters(fleet, now),
        *(Need("Vault", "/projects", text, "fix the document, or write it again") for text in fleet.problems),
    ]
    found.sort(key=lambda need: not need.grave)
    return found[:most], len(found)


def row_needs(row: RegistryRow, now: datetime) -> Iterable[Need]:
    """What needs attention about one registry."""
    entry, name = row.entry, str(row.reference)
    path = f"/registries/{row.reference}"
    if entry is None:
        return
    if row.expired(now):
        ago = duration(now - (row.expires_at or now))
        why = f": {entry.error}" if entry.error else ""
        todo = (
            "fix the cause, then rotate it"
            if entry.error
            else "check that dispatch and rotate run, then rotate it"
        )
        yield Need(name, path, f"expired {ago} ago{why}", todo)
    elif row.state == State.FAILING:
        since = f"failing for {duration(now - entry.failing_since)}" if entry.failing_since else "failing"
        yield Need(name, path, f"{since}: {entry.error}", "fix the cause, then rotate it")
    elif is_expiring(row, now):
        yield Need(
            name, path, "was not renewed in time", "check that dispatch and rotate run, then rotate it"
        )
    if entry.warning:
        yield Need(
            name, path, f"warning: {entry.warning}", "narrow what the upstream secret may do", grave=False
        )
    words = Counter(
        word
        for placement in row.placements.values()
        for word in placement.refused.values()
        if word not in QUIET
    )
    for word, count in sorted(words.items()):
        yield Need(name, path, f"in {plural(count, 'namespace')}: {refusal(word)}", remedy(word), grave=False)


def _of_clusters(fleet: Fleet, now: datetime) -> Iterable[Need]:
    for cluster in clusters(fleet):
        if cluster.held:
            yield Need(
                cluster.name,
                f"/clusters/{cluster.name}#held",
                f"its sync holds {plural(cluster.held, 'removal')}, because so many at once may be a mistake",
                "check them; a platform admin can confirm them",
            )
        if cluster.last_status_at is not None and now - cluster.last_status_at > SILENT:
            yield Need(
                cluster.name,
                f"/clusters/{cluster.name}",
                f"has written no status for {duration(now - cluster.last_status_at)}",
                "check that sync runs there and reaches Vault",
            )


@dataclass(frozen=True, slots=True)
class ClusterHealth:
    """The state of one cluster."""

    name: str
    last_status_at: datetime | None
    """When its sync last wrote a status."""
    projects: int
    namespaces: int
    """How many Secrets are in place."""
    behind: int
    """How many of these have an older version than the newest."""
    refused: int
    held: int = 0
    """How many removals the brake of its sync holds."""
    version: str = ""
    """The version of its sync."""
    mode: str = ""

    def silent(self, now: datetime) -> bool:
        """Whether its sync has been silent for too long."""
        return self.last_status_at is not None and now - self.last_status_at > SILENT


def clusters(fleet: Fleet) -> list[ClusterHealth]:
    """All clusters that the person may see."""
    return fleet.once("clusters", lambda: _clusters(fleet))


def _clusters(fleet: Fleet) -> list[ClusterHealth]:
    by_cluster: dict[str, list[Status]] = {}
    tallies: dict[str, list[Tally]] = {}
    for project in fleet.projects.values():
        for name, status in project.statuses.items():
            by_cluster.setdefault(name, []).append(status)
            tallies.setdefault(name, []).append(project.tallies[name])
    return [_cluster(name, by_cluster.get(name, []), tallies.get(name, [])) for name in fleet.clusters]


def _cluster(name: str, statuses: Sequence[Status], tallies: Sequence[Tally]) -> ClusterHealth:
    newest = max(statuses, key=lambda status: status.written_at, default=None)
    return ClusterHealth(
        name=name,
        last_status_at=newest.written_at if newest else None,
        projects=len(statuses),
        namespaces=sum(tally.placed for tally in tallies),
        behind=sum(tally.behind for tally in tallies),
        refused=sum(tally.refused for tally in tallies),
        held=sum(tally.held for tally in tallies),
        version=newest.sync_version if newest else "",
        mode=newest.mode if newest else "",
    )


@dataclass(frozen=True, slots=True)
class Glance:
    """The state of a fleet when it was read."""

    counts: Mapping[str, int]
    needs: Sequence[Need]
    more_needs: int
    hours: Sequence[Hour]


def glance(fleet: Fleet) -> Glance:
    """The state of a fleet, as of the time when it was read."""
    return fleet.once("glance", lambda: _glance(fleet))


def _glance(fleet: Fleet) -> Glance:
    now = fleet.read_at
    found, total = needs(fleet, now)
    return Glance(counts(fleet.rows, now), found, total - len(found), day_ahead(fleet.rows, now))


def prepare(fleet: Fleet) -> None:
    """Compute what the pages show of all registries, so that no page waits for it."""
    glance(fleet)
    clusters(fleet)
