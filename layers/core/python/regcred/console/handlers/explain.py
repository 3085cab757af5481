"""Explain: the registry of an image, whether it is annotated and granted, and what to add."""

from __future__ import annotations

from starlette.responses import Response

from regcred.console import manifest
from regcred.console.console import Visit
from regcred.console.reading import Fleet
from regcred.errors import MalformedError, RefusedError, RegcredError
from regcred.reference import Reference
from regcred.vault.records.declared import ClusterGrants
from regcred.views import annotation
from regcred.views.explanation import Held, ImageExplanation, Known, World, explain


def form(visit: Visit) -> Response:
    """Show the form."""
    kept = visit.draft() or visit.form
    return _page(visit, text=kept.whole("text"), namespace=kept.get("namespace"), cluster=kept.get("cluster"))


def answer(visit: Visit) -> Response:
    """Explain the pasted text."""
    text, namespace = visit.form.whole("text"), visit.form.get("namespace")
    cluster = visit.form.get("cluster")
    try:
        found = manifest.read(text, namespace=namespace)
    except MalformedError as error:
        return _page(visit, text=text, namespace=namespace, cluster=cluster, error=str(error), status=422)
    fleet = visit.fleet()
    told = []
    for pasted in found:
        world = _world(visit, fleet, pasted, cluster if cluster in fleet.clusters else "")
        answers = explain(pasted.subject, world, visit.now)
        told.append((pasted, world, [(item, _offer(item, world)) for item in answers]))
    return _page(visit, text=text, namespace=namespace, cluster=cluster, told=told)


def _page(
    visit: Visit,
    *,
    text: str,
    namespace: str,
    cluster: str,
    told: list[tuple[manifest.Pasted, World, list[tuple[ImageExplanation, str]]]] | None = None,
    error: str = "",
    status: int = 200,
) -> Response:
    return visit.page(
        "explain.html",
        status=status,
        text=text,
        namespace=namespace,
        cluster=cluster,
        clusters=visit.fleet().clusters,
        told=told or [],
        error=error,
    )


def _world(visit: Visit, fleet: Fleet, pasted: manifest.Pasted, cluster: str) -> World:
    rows = {row.reference: row for row in fleet.rows}
    known = {
        reference: _known(visit, fleet, reference, pasted.subject.namespace, cluster)
        for reference in pasted.asked
    }
    others = {reference: row.entry for reference, row in rows.items() if row.entry}
    return World(cluster, pasted.asked, pasted.malformed, known, others)


def _known(visit: Visit, fleet: Fleet, reference: Reference, namespace: str, cluster: str) -> Known:
    project = fleet.projects.get(reference.project)
    if project is None:
        return Known()
    row = project.row(reference.registry)
    place = row.places.get(cluster)
    placed = next((v for v, names in (place.placed if place else {}).items() if namespace in names), None)
    refused = place.refused.get(namespace, "") if place else ""
    return Known(
        entry=row.entry,
        defined=Held.YES if row.defined else Held.NO,
        granted=_granted(
            visit, cluster, reference.project, namespace, refused=refused, placed=placed is not None
        ),
        present=Held.YES if placed else Held.UNKNOWN,
        version=placed,
        refused=refused,
    )


def _granted(visit: Visit, cluster: str, project: str, namespace: str, *, refused: str, placed: bool) -> Held:
    if not cluster or not namespace:
        return Held.UNKNOWN
    try:
        found = visit.access.store.cluster(cluster)
        grants = found.value if found else ClusterGrants()
        return Held.YES if grants.allows(namespace, project) else Held.NO
    except (RefusedError, MalformedError):
        pass
    except RegcredError:
        return Held.UNKNOWN
    if refused == "not-granted":
        return Held.NO
    return Held.YES if placed else Held.UNKNOWN


def _offer(item: ImageExplanation, world: World) -> str:
    """The annotation to add for an image without one; empty if there is none."""
    if item.reference is not None:
        return ""
    reference = next((ref for ref in world.others if item.todo.endswith(f": {ref}")), None)
    return annotation.text([reference], "yaml") if reference else ""
