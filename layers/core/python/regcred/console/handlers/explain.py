"""Explain for pasted images: the registry, the annotation, the grant, and what to add."""

from __future__ import annotations

from starlette.responses import Response

from regcred.console import pasted_manifest
from regcred.console.console import Visit
from regcred.console.fleet import Fleet
from regcred.errors import MalformedError, RefusedError, RegcredError
from regcred.registry_reference import Reference
from regcred.vault.records.declared import ClusterGrants
from regcred.views import annotation
from regcred.views.explanation import Fact, ImageExplanation, ReferenceFacts, World, explain


def form(visit: Visit) -> Response:
    """Show the form."""
    saved = visit.saved_form() or visit.form
    return _page(
        visit, text=saved.whole("text"), namespace=saved.get("namespace"), cluster=saved.get("cluster")
    )


def answer(visit: Visit) -> Response:
    """Explain the pasted text."""
    text, namespace = visit.form.whole("text"), visit.form.get("namespace")
    cluster = visit.form.get("cluster")
    try:
        found = pasted_manifest.read(text, namespace=namespace)
    except MalformedError as error:
        return _page(visit, text=text, namespace=namespace, cluster=cluster, error=str(error), status=422)
    fleet = visit.fleet()
    results = []
    for pasted in found:
        world = _world(visit, fleet, pasted, cluster if cluster in fleet.clusters else "")
        answers = explain(pasted.subject, world, visit.now)
        results.append((pasted, world, [(item, _offer(item, world)) for item in answers]))
    return _page(visit, text=text, namespace=namespace, cluster=cluster, results=results)


def _page(
    visit: Visit,
    *,
    text: str,
    namespace: str,
    cluster: str,
    results: list[tuple[pasted_manifest.Pasted, World, list[tuple[ImageExplanation, str]]]] | None = None,
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
        results=results or [],
        error=error,
    )


def _world(visit: Visit, fleet: Fleet, pasted: pasted_manifest.Pasted, cluster: str) -> World:
    known = {
        reference: _known(visit, fleet, reference, pasted.subject.namespace, cluster)
        for reference in pasted.requested
    }
    others = {reference: row.entry for reference, row in fleet.by_reference.items() if row.entry}
    return World(cluster, pasted.requested, pasted.malformed, known, others)


def _known(visit: Visit, fleet: Fleet, reference: Reference, namespace: str, cluster: str) -> ReferenceFacts:
    project = fleet.projects.get(reference.project)
    if project is None:
        return ReferenceFacts()
    row = project.row(reference.registry)
    placement = row.placements.get(cluster)
    placed = next(
        (v for v, names in (placement.in_place if placement else {}).items() if namespace in names), None
    )
    refused = placement.refused.get(namespace, "") if placement else ""
    return ReferenceFacts(
        entry=row.entry,
        defined=Fact.YES if row.defined else Fact.NO,
        granted=_granted(
            visit, cluster, reference.project, namespace, refused=refused, placed=placed is not None
        ),
        present=Fact.YES if placed else Fact.UNKNOWN,
        version=placed,
        refused=refused,
    )


def _granted(visit: Visit, cluster: str, project: str, namespace: str, *, refused: str, placed: bool) -> Fact:
    if not cluster or not namespace:
        return Fact.UNKNOWN
    try:
        grants = visit.access.store.effective_grants(cluster, project) or ClusterGrants()
        return Fact.YES if grants.allows(namespace, project) else Fact.NO
    except (RefusedError, MalformedError):
        pass
    except RegcredError:
        return Fact.UNKNOWN
    if refused == "not-granted":
        return Fact.NO
    return Fact.YES if placed else Fact.UNKNOWN


def _offer(item: ImageExplanation, world: World) -> str:
    """The annotation to add for an image without one; empty if there is none."""
    if item.reference is not None:
        return ""
    reference = next((ref for ref in world.others if item.todo.endswith(f": {ref}")), None)
    return annotation.text([reference], "yaml") if reference else ""
