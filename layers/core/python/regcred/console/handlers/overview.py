"""The overview: the state of the fleet at a glance."""

from __future__ import annotations

from starlette.responses import Response

from regcred.console import charts, health
from regcred.console.console import Visit


def overview(visit: Visit) -> Response:
    """Show the state of the fleet, what expires, and what needs attention."""
    fleet = visit.fleet()
    glance = health.glance(fleet)
    return visit.page(
        "overview.html",
        fleet=fleet,
        counts=glance.counts,
        needs=glance.needs,
        more_needs=glance.more_needs,
        hours=charts.bars(glance.hours),
        clusters=health.clusters(fleet),
    )
