"""One registry: its definition, its state, where it is in place, and the actions for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.responses import JSONResponse, Response

from regcred.console import charts, health
from regcred.console.console import Visit
from regcred.console.fleet import RegistryRow
from regcred.errors import MalformedError, MissingError, RefusedError, RegcredError
from regcred.registry.definition import BaseDefinition
from regcred.registry.parsing import parse
from regcred.registry.trust import ProjectRole
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Action, Request
from regcred.vault.records.paths import registry_path
from regcred.vault.store import Versioned
from regcred.views import annotation
from regcred.views.placement import refusal, remedy
from regcred.wording import duration

WATCHED = timedelta(minutes=10)
"""How long a page polls for the outcome of a request."""


@dataclass(frozen=True, slots=True)
class ClusterPlacement:
    """The placement of a registry in one cluster."""

    cluster: str
    namespaces: list[tuple[str, int]]
    """By name: the version in that namespace."""
    behind: int
    refused: list[tuple[str, str, int]]
    """The meaning, the remedy, and the number of namespaces."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One registry, as far as the token may see it."""

    row: RegistryRow
    definition: BaseDefinition | None
    content: Mapping[str, Any]
    version: int
    broken: str
    """Why the definition can't be read; empty if it can."""
    role_arn: str


def reference_of(visit: Visit) -> Reference:
    """The registry in the path.

    Raises:
        MissingError: The name is not valid for a registry.
    """
    try:
        return Reference(visit.named("project"), visit.named("registry"))
    except MalformedError as error:
        raise MissingError(str(error)) from None


def read(visit: Visit) -> Shown:
    """Read a registry now.

    Raises:
        MissingError: The registry does not exist.
        RefusedError: The token may not see it.
    """
    reference = reference_of(visit)
    project = visit.reader.project(reference.project)
    row = project.row(reference.registry)
    found, broken = None, ""
    try:
        found = visit.access.store.definition(reference)
    except MalformedError as error:
        broken = str(error)
    except RefusedError:
        if row.entry is None:
            raise
    if found is None and row.entry is None and not broken and not row.placements:
        raise MissingError(f"there is no registry {reference}")
    definition, problem = _typed(reference, found)
    return Shown(
        row=row,
        definition=definition,
        content=found.value.content() if found else {},
        version=found.version if found else 0,
        broken=broken or problem,
        role_arn=project.policy.role_arn if project.policy else "",
    )


def _typed(reference: Reference, found: Versioned[Any] | None) -> tuple[BaseDefinition | None, str]:
    if found is None:
        return None, ""
    try:
        return parse(found.value.content(), where=registry_path(reference)), ""
    except MalformedError as error:
        return None, str(error)


def registry(visit: Visit) -> Response:
    """Show a registry."""
    shown = read(visit)
    row, now = shown.row, visit.now
    return visit.page(
        "registry.html",
        row=row,
        shown=shown,
        fields=[(name, plain(value)) for name, value in shown.content.items() if name != "provider"],
        provider=str(shown.content.get("provider") or (row.entry.provider if row.entry else "")),
        needs=[need for need in health.row_needs(row, now) if need.what],
        left=health.life_left(row, now),
        placements=[_placement(row, cluster) for cluster in sorted(row.placements)],
        trust=trust(shown),
        annotation=annotation.text([row.reference], "yaml"),
        static=bool(shown.definition and shown.definition.upstream_fields()),
        pending=request_of(visit, row.reference),
        history=(outcomes := history_of(visit, row.reference)),
        chart=charts.outcomes(outcomes),
    )


def trust(shown: Shown) -> str:
    """The settings for the vendor's side; empty if there are none, or if they are unknown."""
    if shown.definition is None or not shown.role_arn or shown.definition.upstream_fields():
        return ""
    with suppress(RegcredError):
        return shown.definition.trust(ProjectRole(shown.row.reference.project, shown.role_arn))
    return ""


def plain(value: Any) -> str:
    """A field's value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _placement(row: RegistryRow, cluster: str) -> ClusterPlacement:
    placement = row.placements[cluster]
    words = Counter(placement.refused.values())
    return ClusterPlacement(
        cluster=cluster,
        namespaces=sorted((name, version) for version, names in placement.in_place.items() for name in names),
        behind=row.behind.get(cluster, 0),
        refused=[(refusal(word), remedy(word), count) for word, count in sorted(words.items())],
    )


def request_of(visit: Visit, reference: Reference) -> Request | None:
    """The pending request, as far as the token may see it. A revocation comes first."""
    store = visit.access.store
    with suppress(RegcredError):
        for found in (store.revocation(reference), store.request(reference)):
            if found and visit.now - found.value.requested_at < WATCHED:
                return found.value
    return None


def progress(visit: Visit) -> Response:
    """Tell a waiting page whether the request was handled."""
    reference = reference_of(visit)
    project = visit.reader.project(reference.project)
    if project.row(reference.registry).entry is None and reference.registry not in project.defined:
        raise MissingError(f"there is no registry {reference}")
    pending = request_of(visit, reference)
    if pending is None:
        return JSONResponse({"done": True, "text": ""})
    return JSONResponse(
        {"done": False, "text": f"Requested {duration(visit.now - pending.requested_at)} ago."}
    )


_ACTIONS = {"verify": Action.VERIFY, "rotate": Action.ROTATE, "revoke": Action.REVOKE}


def confirm(visit: Visit) -> Response:
    """Ask for confirmation before an action."""
    _check_action(visit)
    return _confirm(visit, read(visit))


def _check_action(visit: Visit) -> None:
    if visit.named("action") not in {*_ACTIONS, "remove"}:
        raise MissingError("there is no such action")


def _confirm(visit: Visit, shown: Shown, *, status: int = 200, error: str = "") -> Response:
    return visit.page(
        "confirm.html",
        status=status,
        row=shown.row,
        action=visit.named("action"),
        error=error,
        typed=visit.form.get("name"),
    )


def act(visit: Visit) -> Response:
    """Write a request in Vault with the person's own token, or remove the registry."""
    _check_action(visit)
    shown, action = read(visit), visit.named("action")
    reference = shown.row.reference
    if action in {"revoke", "remove"} and visit.form.get("name") != str(reference):
        return _confirm(visit, shown, status=422, error=f"Type {reference} to confirm.")
    if action == "remove":
        visit.access.store.remove_definition(reference)
        return visit.go(f"/registries?project={reference.project}&removed={reference}")
    request_action(visit, reference, _ACTIONS[action])
    return visit.go(f"/registries/{reference}")


def request_action(visit: Visit, reference: Reference, action: Action) -> None:
    """Write a request for rotate, and notify dispatch if possible."""
    visit.access.store.create_request(reference, action, visit.now)
    with suppress(RegcredError):
        visit.console.nudge(reference.project)


def history_of(visit: Visit, reference: Reference) -> list[charts.ChartedAttempt]:
    """The last outcomes of a registry, newest first; none if the token may not read them."""
    with suppress(RegcredError):
        if found := visit.access.store.history(reference.project):
            return [charts.outcome(attempt) for attempt in found.value.attempts(reference.registry)]
    return []
