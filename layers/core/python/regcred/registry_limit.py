"""Selects the registries that are rotated if a project has more than its limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from regcred.vault.records.index import Index, State


def within_limit(names: Iterable[str], index: Index, *, limit: int) -> list[str]:
    """The registries of a project that are rotated. New ones over the limit wait.

    A registry that was rotated before is never left out, so a lower limit ends no credential.

    Args:
        names: The registries that are defined.
        index: The project's index.
        limit: ``max_registries`` of ``platform/projects/P``.
    """
    names = list(names)
    entries = index.registries
    known = {
        name
        for name in names
        if name in index.marks or (name in entries and entries[name].state is not State.REMOVED)
    }
    room = 0 if index.full else max(0, limit - len(known))
    new = sorted(name for name in names if name not in known)[:room]
    within = known.union(new)
    return [name for name in names if name in within]


def limit_reason(index: Index, *, limit: int) -> str:
    """Why :func:`within_limit` leaves out registries, and the remedy."""
    if index.full:
        return "the index of its project is full: remove registries, or move some to another project"
    return (
        f"its project has reached its limit of {limit}: remove some, or ask a platform admin for more "
        "(regcred project add P --max-registries N)"
    )
