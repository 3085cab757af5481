"""The overview: the state of the fleet at a glance."""

from __future__ import annotations

from starlette.responses import Response

from regcred.console import charts, health
from regcred.console.console import Visit


def overview(visit: Visit) -> Response:
    """Show the state of the fleet, what expires, and what needs attention."""
    fleet, now = visit.fleet(), visit.now
    found, total = health.needs(fleet, now)
    return visit.page(
        "overview.html",
        fleet=fleet,
        counts=health.counts(fleet.rows, now),
        needs=found,
        more_needs=total - len(found),
        hours=charts.bars(health.day_ahead(fleet.rows, now)),
        clusters=health.clusters(fleet),
    )
