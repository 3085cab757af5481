"""The clusters: the last report of each, what is out of date, and which namespaces may use which projects."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from regcred.console import health
from regcred.console.console import Visit
from regcred.errors import MalformedError, MissingError, RefusedError
from regcred.reference import check_label
from regcred.vault.records.declared import ClusterGrants
from regcred.vault.records.paths import cluster_path
from regcred.vault.store import Versioned

ROWS = 100
"""The number of registries on the page of one cluster."""


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
    rows = [row for row in fleet.rows if name in row.places]
    grants, broken = _grants(visit, name)
    return visit.page(
        "cluster.html",
        status=status,
        cluster=known,
        rows=sorted(rows, key=lambda row: -sum(map(len, row.places[name].placed.values())))[:ROWS],
        more_rows=max(0, len(rows) - ROWS),
        refusals=[
            (row.reference, namespace, health.refusal(word), health.remedy(word))
            for row in rows
            for namespace, word in sorted(row.places[name].refused.items())
        ][:100],
        grants=grants.value
        if grants
        else (ClusterGrants() if may_write(visit, cluster_path(name)) else None),
        may_grant=may_write(visit, cluster_path(name)),
        projects=sorted(fleet.projects),
        broken=broken,
        error=error,
        form=visit.form,
    )


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


def grant(visit: Visit) -> Response:
    """Grant a project to namespaces, or withdraw it from one."""
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
        return ClusterGrants(grants={**others, project: left} if left else others, globs=grants.globs)
    except ValueError:
        raise MalformedError(
            f"{', '.join(namespaces)[:200]}: names of namespaces hold a-z, 0-9 and '-'"
            + ("" if grants.globs else "; this cluster takes exact names, no '*'"),
            field="namespaces",
        ) from None
