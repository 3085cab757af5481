"""``regcred status``: shows every registry, its state, and where sync has placed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import click

from regcred import __version__
from regcred.cli import completion, lookup
from regcred.cli.failures import Failed
from regcred.cli.outcomes import attempt_json, last_outcome
from regcred.cli.output import output_option, print_json, print_table, say, time_text
from regcred.cli.session import CliSession, pass_session
from regcred.errors import MalformedError, RefusedError, RegcredError
from regcred.registry_limit import limit_reason, within_limit
from regcred.registry_reference import Reference, check_label
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.history import Attempt
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store
from regcred.views.placement import placement_problems, sync_description
from regcred.views.versions import VersionNote, is_supported, version_note
from regcred.wording import duration, expires_in, plural

WORKERS = 8
"""The number of projects that are read in parallel."""

OUTCOMES = 5
"""The maximum number of last outcomes of a registry in the JSON output."""

FEW = 10
"""The text lists the statuses of sync if there are at most this many. 'regcred doctor' shows the old ones."""

PENDING = "pending"
"""The state of a registry that was added and not rotated yet."""


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One registry: its index entry, and each cluster's status."""

    reference: Reference
    entry: IndexEntry | None
    placements: Mapping[str, Placement] = field(default_factory=dict)
    """By cluster."""
    no_room: str = ""
    """Why the registry is not rotated, if its project has too many."""
    syncs: Mapping[str, Status] = field(default_factory=dict)
    """By cluster: the last status that its sync wrote for the project."""
    named: bool = False
    """Whether the user named this registry."""
    attempts: Sequence[Attempt] = ()
    """Its last outcomes, newest first."""
    rotate_version: str = ""
    """The version of the rotate function that wrote the project's index last."""

    @property
    def state(self) -> str:
        """The state as shown to people."""
        return self.entry.shown_state if self.entry else PENDING

    @property
    def where(self) -> str:
        """The number of namespaces per cluster, and how many of them have an older version, as text."""
        parts = []
        for cluster, placement in sorted(self.placements.items()):
            count = sum(map(len, placement.in_place.values()))
            old = count - len(placement.in_place.get(self.entry.version if self.entry else 0, {}))
            if count:
                parts.append(
                    f"{cluster}: {plural(count, 'namespace')}"
                    + (f" ({old} with an older version)" if old else "")
                )
        return ", ".join(parts)


@click.command(
    help="""Show every registry, its state and its expiry.

    Name projects (P) or registries (P/R) to see only these. The default is all projects that you may read.
    The command also shows in how many namespaces of each cluster sync has placed the Secret. Sync may not
    read Secrets, so a deleted Secret counts until sync writes it again. To check the cluster itself, use
    'regcred explain'.

    \b
    States:
      pending   added; the first credential is not fetched yet
      ok        the credential is valid and verified
      unverified
                the credential is valid, but could not be verified at the registry
      failing   the last attempt failed; the last credential stays in force until it expires
      revoked   revoked on request; 'regcred rotate P/R' fetches a new credential
      removed   the definition was deleted; clusters remove the Secrets
    """
)
@click.argument(
    "targets", nargs=-1, metavar="[P | P/R]...", shell_complete=completion.projects_and_references
)
@output_option
@pass_session
def status(session: CliSession, targets: Sequence[str], as_json: bool) -> None:
    """Run ``regcred status``."""
    store = session.store
    wanted = [_target(text) for text in targets]
    names = sorted({item.project if isinstance(item, Reference) else item for item in wanted})
    rows, broken = _all_rows(store, lookup.projects(store, names, "regcred status"))
    if wanted:
        rows = [
            replace(row, named=row.reference in wanted)
            for row in rows
            if row.reference in wanted or row.reference.project in wanted
        ]
        if not broken:
            _check_found(store, wanted, rows)
    now = session.now()
    if as_json:
        print_json(
            {
                "registries": [_json(row) for row in rows],
                "syncs": _syncs_json(rows),
                "rotates": _rotates_json(rows),
                "version": __version__,
            }
        )
    elif rows or not broken:
        # A removed registry stays in the index for months, for clusters that were disconnected. People don't
        # need to see it.
        _print(
            [row for row in rows if row.state != State.REMOVED or row.where or row.reference in wanted],
            names,
            now,
        )
    if broken:
        raise Failed("; ".join(map(str, broken)))


def _check_found(store: Store, wanted: Sequence[Reference | str], rows: Sequence[StatusRow]) -> None:
    """Check that everything that the user named exists."""
    for item in wanted:
        if isinstance(item, Reference):
            if not any(row.reference == item for row in rows):
                raise lookup.no_such_registry(store, item)
        elif not any(row.reference.project == item for row in rows):
            lookup.check_project(store, item)


def _all_rows(store: Store, projects: Sequence[str]) -> tuple[list[StatusRow], list[MalformedError]]:
    """The registries of all projects, and the errors of indexes that can't be read."""

    def read(project: str) -> list[StatusRow] | MalformedError:
        try:
            return rows_of(store, project)
        except MalformedError as error:
            return error

    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(read, projects))
    rows = [row for part in found if not isinstance(part, MalformedError) for row in part]
    return rows, [part for part in found if isinstance(part, MalformedError)]


def _print(rows: Sequence[StatusRow], projects: Sequence[str], now: datetime) -> None:
    if not rows:
        say(lookup.no_registries(projects))
        return
    print_table(
        ["registry", "state", "expires in", "version", "placed by sync"],
        [[str(row.reference), row.state, _expiry(row, now), _version(row), row.where] for row in rows],
    )
    for row in rows:
        for note in _notes(row, now):
            say(f"{row.reference}: {note}")
    for version in _version_notes(rows):
        say(version.text)
    syncs = _syncs(rows)
    for (project, cluster), found in sorted(syncs.items()) if len(syncs) <= FEW else ():
        description = sync_description(found)
        seen = duration(now - found.written_at)
        say(
            f"{project} in {cluster}: sync{f' ({description})' if description else ''} wrote its status "
            f"{seen} ago"
        )


def _version_notes(rows: Sequence[StatusRow]) -> list[VersionNote]:
    """A note for each part whose version differs. Clusters with the same version share a note."""
    clusters: dict[str, set[str]] = {}
    for (_, cluster), found in _syncs(rows).items():
        clusters.setdefault(found.sync_version, set()).add(cluster)
    parts = [("rotate", version) for version in sorted({row.rotate_version for row in rows})]
    for version, names in sorted(clusters.items()):
        more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
        parts.append((f"sync in {', '.join(sorted(names)[:FEW])}{more}", version))
    notes = (version_note(part, version, __version__) for part, version in parts)
    return [note for note in notes if note]


def _rotates_json(rows: Sequence[StatusRow]) -> list[dict[str, Any]]:
    found = {row.reference.project: row.rotate_version for row in rows if row.rotate_version}
    return [
        {"project": project, "version": version, "supported": is_supported(version, __version__)}
        for project, version in sorted(found.items())
    ]


def _syncs(rows: Sequence[StatusRow]) -> dict[tuple[str, str], Status]:
    """By project and cluster: the last status that sync wrote."""
    return {(row.reference.project, cluster): found for row in rows for cluster, found in row.syncs.items()}


def _syncs_json(rows: Sequence[StatusRow]) -> list[dict[str, Any]]:
    return [
        {
            "project": project,
            "cluster": cluster,
            "version": found.sync_version,
            "supported": is_supported(found.sync_version, __version__),
            "mode": found.mode,
            "written_at": time_text(found.written_at),
        }
        for (project, cluster), found in sorted(_syncs(rows).items())
    ]


def _target(text: str) -> Reference | str:
    try:
        return Reference.parse(text) if "/" in text else check_label(text, field="project")
    except MalformedError as error:
        raise click.BadParameter(str(error)) from None


def rows_of(store: Store, project: str) -> list[StatusRow]:
    """All registries of a project, including removed ones that are only in its index."""
    index = lookup.index(store, project)
    entries = index.registries
    defined = [found.registry for found in lookup.registries(store, project)]
    names = sorted({*defined, *entries})
    policy = _policy(store, project)
    outside = {*defined}.difference(within_limit(defined, index, limit=policy.max_registries))
    why = limit_reason(index, limit=policy.max_registries)
    placements = _statuses(store, project, policy.clusters)
    past = lookup.history(store, project)
    return [
        StatusRow(
            Reference(project, name),
            entries.get(name),
            {
                cluster: placement
                for cluster, found in placements.items()
                if (placement := found.registries.get(name))
            },
            no_room=why if name in outside else "",
            syncs=placements,
            attempts=past.attempts(name),
            rotate_version=index.rotate_version,
        )
        for name in names
    ]


def _statuses(store: Store, project: str, clusters: Sequence[str]) -> dict[str, Status]:
    def report(cluster: str, error: RegcredError) -> None:
        say(f"note: it is unknown where sync has placed {project} in cluster {cluster}: {error}")

    return lookup.statuses(store, project, clusters, report)


def _policy(store: Store, project: str) -> ProjectPolicy:
    try:
        policy = store.project(project)
        return policy.value if policy else ProjectPolicy()
    except RefusedError:
        say(
            f"note: your token may not read which clusters use {project}, so the column 'placed by sync' "
            "is empty"
        )
        return ProjectPolicy()


def _expiry(row: StatusRow, now: datetime) -> str:
    if row.entry is None or row.entry.version == 0 or row.state in (State.REVOKED, State.REMOVED):
        return ""
    return expires_in(row.entry.expires_at, now)


def _version(row: StatusRow) -> str:
    return str(row.entry.version) if row.entry and row.entry.version else ""


def _notes(row: StatusRow, now: datetime) -> list[str]:
    entry = row.entry
    notes = [f"not rotated: {row.no_room}"] if row.no_room else []
    if row.attempts and (row.attempts[0].error_kind or row.named):
        notes.append(last_outcome(row.attempts[0], now))
    if entry and entry.state is State.FAILING:
        since = f" for {duration(now - entry.failing_since)}" if entry.failing_since else ""
        notes.append(f"failing{since}: {entry.error}{next_attempt(entry, now)}")
    if entry and entry.shown_state != entry.state:
        notes.append(f"{entry.shown_state}: {entry.why_unverified}")
    if entry and entry.warning:
        notes.append(f"warning: {entry.warning}")
    for cluster, placement in sorted(row.placements.items()):
        notes += [f"{cluster}: {problem.text}" for problem in placement_problems(cluster, placement)]
    return notes


def next_attempt(entry: IndexEntry, now: datetime) -> str:
    """The time of the next attempt, as the end of a sentence; empty if none is planned."""
    if entry.next_attempt_at is None:
        return ""
    if entry.next_attempt_at <= now:
        return "; the next attempt is due"
    return f"; next attempt in {duration(entry.next_attempt_at - now)}"


def _json(row: StatusRow) -> dict[str, Any]:
    entry = row.entry
    return {
        "registry": str(row.reference),
        "state": row.state,
        "version": entry.version if entry else 0,
        "provider": entry.provider if entry else "",
        "hosts": entry.hosts if entry else [],
        "expires_at": time_text(entry.expires_at) if entry else None,
        "refresh_at": time_text(entry.refresh_at) if entry else None,
        "verified": entry.verified if entry else None,
        "unverified": entry.why_unverified if entry else "",
        "error": entry.error if entry else "",
        "warning": entry.warning if entry else "",
        "no_room": row.no_room,
        "failing_since": time_text(entry.failing_since) if entry else None,
        "next_attempt_at": time_text(entry.next_attempt_at) if entry else None,
        "last_outcomes": [attempt_json(attempt) for attempt in row.attempts[:OUTCOMES]],
        "where": {
            cluster: {
                "namespaces": {
                    namespace: version
                    for version, placed in sorted(placement.in_place.items())
                    for namespace in sorted(placed)
                },
                "refused": placement.refused,
                "details": placement.details,
                "held": placement.held,
            }
            for cluster, placement in sorted(row.placements.items())
        },
    }
