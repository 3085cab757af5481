"""The list of registries. The server filters, sorts and pages it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from regcred.console import health
from regcred.console.console import Visit
from regcred.console.fleet import PENDING, Fleet, RegistryRow
from regcred.errors import MalformedError
from regcred.registry_reference import Reference
from regcred.vault.records.index import State

PAGE = 40
"""The number of registries on one page. The page stays under 60 KB."""

SEARCH_MAX = 120

_NEVER = datetime.max.replace(tzinfo=UTC)
_GRAVITY = {
    State.FAILING.value: 0,
    PENDING: 1,
    State.REVOKED.value: 2,
    State.OK.value: 3,
    State.REMOVED.value: 4,
}

SORTS: dict[str, Callable[[RegistryRow], Any]] = {
    "name": lambda row: row.reference,
    "state": lambda row: (_GRAVITY[row.state], row.reference),
    "expiry": lambda row: (row.expires_at or _NEVER, row.reference),
    "rotated": lambda row: (row.entry.changed_at if row.entry else _NEVER, row.reference),
    "use": lambda row: (-row.namespaces, row.reference),
    "vendor": lambda row: (row.entry.provider if row.entry else "", row.reference),
}
"""The sort order for each word in the address."""


@dataclass(frozen=True, slots=True)
class Query:
    """The filter and order of the list, from the address."""

    text: str = ""
    state: str = ""
    vendor: str = ""
    project: str = ""
    sort: str = "name"
    down: bool = False
    page: int = 1

    @classmethod
    def of(cls, visit: Visit) -> Query:
        """Read it from the address. Invalid values count as not given."""
        page = visit.parameter("page")
        return cls(
            text=visit.parameter("q").strip().lower()[:SEARCH_MAX],
            state=visit.parameter("state"),
            vendor=visit.parameter("vendor"),
            project=visit.parameter("project"),
            sort=visit.parameter("sort") if visit.parameter("sort") in SORTS else "name",
            down=visit.parameter("order") == "down",
            page=min(int(page), 10**6) if page.isascii() and page.isdecimal() and len(page) < 8 else 1,  # noqa: PLR2004
        )

    def address(self, **changes: Any) -> str:
        """The address of the same list with changes; the first page unless one is given."""
        values = {
            "q": self.text,
            "state": self.state,
            "vendor": self.vendor,
            "project": self.project,
            "sort": self.sort if self.sort != "name" else "",
            "order": "down" if self.down else "",
        } | changes
        query = urlencode({name: value for name, value in values.items() if value})
        return f"/registries?{query}" if query else "/registries"

    def sorted_by(self, sort: str) -> str:
        """The address of the list in another order, or reversed if it already has that order."""
        down = sort == self.sort and not self.down
        return self.address(sort=sort if sort != "name" else "", order="down" if down else "")

    @property
    def filtered(self) -> bool:
        """Whether any filter is set."""
        return bool(self.text or self.state or self.vendor or self.project)

    def matches(self, row: RegistryRow, now: datetime) -> bool:
        """Whether a registry matches the filter."""
        if self.project and row.reference.project != self.project:
            return False
        if self.vendor and (row.entry is None or row.entry.provider != self.vendor):
            return False
        if self.state and not (
            health.is_expiring(row, now) if self.state == "expiring" else row.state == self.state
        ):
            return False
        if not self.text:
            return True
        hosts = row.entry.hosts if row.entry else ()
        return self.text in str(row.reference) or any(self.text in host for host in hosts)


def registries(visit: Visit) -> Response:
    """Show the matching registries."""
    fleet, query, now = visit.fleet(), Query.of(visit), visit.now
    found = _in_order(fleet, query.sort)
    if query.filtered:
        found = [row for row in found if query.matches(row, now)]
    if query.down:
        found = found[::-1]
    pages = max(1, -(-len(found) // PAGE))
    page = min(max(query.page, 1), pages)
    shown = found[(page - 1) * PAGE : page * PAGE]
    return visit.page(
        "registries.html",
        fleet=fleet,
        query=query,
        rows=[(row, health.life_left(row, now)) for row in shown],
        total=len(found),
        first=(page - 1) * PAGE + 1 if shown else 0,
        page_number=page,
        pages=pages,
        vendors=fleet.once("vendors", lambda: _vendors(fleet.rows)),
        states=[*(state.value for state in State), PENDING, "expiring"],
        may_add=_may_add(fleet),
        removed=_removed(visit),
    )


def _removed(visit: Visit) -> str:
    """The registry that the person has just removed; empty if none."""
    try:
        return str(Reference.parse(visit.parameter("removed")))
    except MalformedError:
        return ""


def _in_order(fleet: Fleet, sort: str) -> Sequence[RegistryRow]:
    if sort == "name":
        return fleet.rows
    return fleet.once(f"by {sort}", lambda: sorted(fleet.rows, key=SORTS[sort]))


def _vendors(rows: Sequence[RegistryRow]) -> list[str]:
    return sorted({row.entry.provider for row in rows if row.entry and row.entry.provider})


def _may_add(fleet: Fleet) -> bool:
    return bool(fleet.projects)
