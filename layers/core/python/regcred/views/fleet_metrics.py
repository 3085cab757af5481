"""The state of a fleet as metrics. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from regcred.printable import printable
from regcred.vault.records.index import Index, State
from regcred.vault.records.status import Status
from regcred.views.versions import is_supported

PREFIX = "regcred_fleet_"
LABEL_TEXT_MAX = 40
"""The maximum number of characters of a label's value that a cluster wrote."""

HELP = {
    "registries": "Registries by state",
    "credential_expiry_timestamp_seconds": "When the current credential expires; absent if it never does",
    "credential_failing_since_timestamp_seconds": "Since when the rotation fails; absent if it does not",
    "sync_status_timestamp_seconds": "When the sync of a cluster last wrote its status",
    "sync_info": "The version and the mode of the sync of a cluster; 1 if this exporter supports the version",
    "secrets_placed": "Namespaces in which the sync of a cluster has placed a Secret",
    "secrets_behind": "Of these, namespaces whose Secret has an older version than the index",
    "secrets_refused": "Namespaces in which sync refuses a Secret or the cluster denies it",
    "removals_held": "Removals that the brake of a cluster's sync holds",
    "project_readable": "1 if the index of the project could be read",
    "read_timestamp_seconds": "When the fleet was read",
}
"""The help text of each metric."""


@dataclass(frozen=True, slots=True)
class SeenProject:
    """The documents of one project."""

    name: str
    index: Index | None
    """None if it can't be read."""
    statuses: Mapping[str, Status] = field(default_factory=dict)
    """By cluster: the last status that its sync wrote."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples(projects: Iterable[SeenProject], now: datetime, own: str) -> list[Sample]:
    """The metrics of a fleet.

    Args:
        projects: the documents of all projects.
        now: when they were read.
        own: the version of this program.
    """
    found = [Sample("read_timestamp_seconds", {}, now.timestamp())]
    newest: dict[str, Status] = {}
    for project in projects:
        readable = {"project": project.name}
        found.append(Sample("project_readable", readable, float(project.index is not None)))
        found += _registries(project.name, project.index) if project.index else ()
        for cluster, status in sorted(project.statuses.items()):
            found += _cluster(project.name, project.index, cluster, status)
            if cluster not in newest or status.written_at > newest[cluster].written_at:
                newest[cluster] = status
    for cluster, status in sorted(newest.items()):
        # A cluster writes its own status, so it can write anything there.
        reported = {"version": status.sync_version, "mode": status.mode}
        about = {
            "cluster": cluster,
            **{name: printable(text)[:LABEL_TEXT_MAX] for name, text in reported.items()},
        }
        found.append(Sample("sync_info", about, float(is_supported(status.sync_version, own))))
    return found


def by_name(found: Sequence[Sample]) -> dict[str, list[Sample]]:
    """The samples by metric, in the order of :data:`HELP`."""
    rows: dict[str, list[Sample]] = {name: [] for name in HELP}
    for sample in found:
        rows[sample.name].append(sample)
    return rows


def _registries(project: str, index: Index) -> Iterator[Sample]:
    counts = Counter(entry.shown_state for entry in index.registries.values())
    for state in sorted({*counts, *(state.value for state in State)}):
        yield Sample("registries", {"project": project, "state": state}, counts[state])
    for name, entry in sorted(index.registries.items()):
        about = {"project": project, "registry": name}
        in_force = entry.version and entry.state in (State.OK, State.FAILING)
        if in_force and entry.expires_at:
            yield Sample("credential_expiry_timestamp_seconds", about, entry.expires_at.timestamp())
        if entry.state is State.FAILING and entry.failing_since:
            since = entry.failing_since.timestamp()
            yield Sample("credential_failing_since_timestamp_seconds", about, since)


def _cluster(project: str, index: Index | None, cluster: str, status: Status) -> Iterator[Sample]:
    about = {"project": project, "cluster": cluster}
    yield Sample("sync_status_timestamp_seconds", about, status.written_at.timestamp())
    placed = behind = refused = held = 0
    for name, placement in status.registries.items():
        entry = index.registries.get(name) if index else None
        for version, namespaces in placement.in_place.items():
            placed += len(namespaces)
            behind += len(namespaces) if entry and version < entry.version else 0
        refused += len(placement.refused)
        held += len(placement.held)
    counts = {"placed": placed, "behind": behind, "refused": refused}
    for what, count in counts.items():
        yield Sample(f"secrets_{what}", about, count)
    yield Sample("removals_held", about, held)
