"""The clusters: the last status of each, outdated Secrets, refusals, held removals and grants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from starlette.responses import Response

from regcred.console import health
from regcred.console.console import Visit
from regcred.console.fleet import Fleet, RegistryRow
from regcred.errors import MalformedError, MissingError, RefusedError
from regcred.registry_reference import Reference, check_label
from regcred.vault.records.declared import ClusterGrants
from regcred.vault.records.paths import cluster_path
from regcred.vault.store import Versioned
from regcred.views.placement import count_held, held_removals, refusal, remedy
from regcred.wording import plural

ROWS = 100
"""The number of registries, and of refusals, on the page of one cluster."""


HELD_ROWS = 100
"""The number of held removals of one project that are shown."""

HELD_BECAUSE = {
    "unneeded": "no workload requests it any more",
    "removed": "its registry was removed",
}
"""By the reason that sync writes: why it would remove the Secret."""


def clusters(visit: Visit) -> Response:
    """Show all clusters."""
    return visit.page("clusters.html", clusters=health.clusters(visit.fleet()))


def cluster(visit: Visit) -> Response:
    """Show one cluster."""
    return _cluster(visit)


def _name(visit: Visit) -> str:
    name = visit.named("cluster")
    if name not in visit.fleet().clusters:
        raise MissingError("there is no such cluster")
    return name


def _cluster(visit: Visit, *, status: int = 200, error: str = "") -> Response:
    name = _name(visit)
    fleet = visit.fleet()
    known = next(item for item in health.clusters(fleet) if item.name == name)
    there = fleet.once(f"in {name}", lambda: _in_cluster(fleet, name))
    may_grant = may_write(visit, cluster_path(name))
    grants, broken = _grants(visit, name)
    held = held_of(fleet, name)
    return visit.page(
        "cluster.html",
        status=status,
        held=[
            (project, count_held(placements), _held_rows(placements)) for project, placements in held.items()
        ],
        held_shown=HELD_ROWS,
        confirmed={
            project: one.until
            for project, one in (grants.value.confirmed.items() if grants else ())
            if one.until > visit.now and count_held(held.get(project, {})) <= one.count
        },
        cluster=known,
        rows=there.rows,
        more_rows=there.more,
        refusals=there.refusals,
        grants=grants.value if grants else (ClusterGrants() if may_grant else None),
        may_grant=may_grant,
        projects=sorted(fleet.projects),
        broken=broken,
        error=error,
        form=visit.form,
    )


@dataclass(frozen=True, slots=True)
class _There:
    """The registries in one cluster."""

    rows: Sequence[RegistryRow]
    """Those with the most namespaces."""
    more: int
    refusals: Sequence[tuple[Reference, str, str, str]]
    """The registry, the namespace, the meaning and the remedy."""


def _in_cluster(fleet: Fleet, name: str) -> _There:
    rows = [row for row in fleet.rows if name in row.placements]
    refusals = (
        (row.reference, namespace, refusal(word), remedy(word))
        for row in rows
        for namespace, word in sorted(row.placements[name].refused.items())
    )
    most = sorted(rows, key=lambda row: -sum(map(len, row.placements[name].in_place.values())))[:ROWS]
    return _There(most, max(0, len(rows) - ROWS), list(islice(refusals, ROWS)))


def _grants(visit: Visit, name: str) -> tuple[Versioned[ClusterGrants] | None, str]:
    try:
        return visit.access.store.cluster(name), ""
    except RefusedError:
        return None, ""
    except MalformedError as error:
        return None, str(error)


def may_write(visit: Visit, path: str) -> bool:
    """Whether to show a form: the token may write the document. Vault decides again when the form is sent."""
    found = visit.access.may([f"data/{path}"]).get(f"data/{path}", frozenset())
    return bool(found & {"update", "root", "sudo"})


def held_of(fleet: Fleet, name: str) -> dict[str, dict[str, dict[str, str]]]:
    """The removals that the sync of a cluster holds, see :func:`regcred.views.placement.held_removals`."""
    return held_removals(
        {
            project.name: project.statuses[name]
            for project in fleet.projects.values()
            if name in project.statuses
        }
    )


def _held_rows(placements: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str, str]]:
    """The registry, the namespace and the reason of the first held removals of a project."""
    rows = (
        (registry, namespace, HELD_BECAUSE.get(why, why))
        for registry, namespaces in placements.items()
        for namespace, why in sorted(namespaces.items())
    )
    return list(islice(rows, HELD_ROWS))


def confirm_removals(visit: Visit) -> Response:
    """Confirm the removals of one project that sync holds, if there are as many as the person has seen."""
    name, form = _name(visit), visit.form
    project, seen = form.get("project"), form.get("count")
    try:
        check_label(project, field="project")
    except MalformedError as error:
        return _cluster(visit, status=422, error=str(error))
    status = visit.reader.project(project).statuses.get(name)
    count = count_held(held_removals({project: status} if status else {}).get(project, {}))
    if not count or seen != str(count):
        text = (
            f"Sync now holds {plural(count, 'removal')} of {project}, but you saw {seen[:12] or 'none'}. "
            "Nothing was confirmed. Check the list again."
        )
        return _cluster(visit, status=409, error=text)
    store = visit.access.store
    store.change_cluster(name, lambda old: (old or ClusterGrants()).confirming({project: count}, visit.now))
    return visit.go(f"/clusters/{name}#held")


def grant(visit: Visit) -> Response:
    """Grant a project to namespaces, or remove the grant of one."""
    name, form = _name(visit), visit.form
    project = form.get("project")
    namespaces = sorted({item for item in form.whole("namespaces").replace(",", " ").split() if item})
    try:
        check_label(project, field="project")
        if not namespaces:
            raise MalformedError("name at least one namespace", field="namespaces")
        take = form.get("change") == "remove"
        visit.access.store.change_cluster(name, lambda old: _changed(old, project, namespaces, take=take))
    except MalformedError as error:
        return _cluster(visit, status=422, error=str(error))
    return visit.go(f"/clusters/{name}#grants")


def _changed(
    old: ClusterGrants | None, project: str, namespaces: Sequence[str], *, take: bool
) -> ClusterGrants:
    grants = old or ClusterGrants()
    held = set(grants.grants.get(project, ()))
    left = sorted(held - set(namespaces) if take else held | set(namespaces))
    others = {name: names for name, names in grants.grants.items() if name != project}
    try:
        changed = {**others, project: left} if left else others
        return ClusterGrants(**dict(grants) | {"grants": changed})
    except ValueError:
        raise MalformedError(
            f"{', '.join(namespaces)[:200]}: names of namespaces consist of a-z, 0-9 and '-'"
            + ("" if grants.globs else "; this cluster takes exact names, without '*'"),
            field="namespaces",
        ) from None
