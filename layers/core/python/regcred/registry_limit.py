"""Which registries of a project are rotated if it has more than its limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from regcred.vault.records.index import Index, State


def served(names: Iterable[str], index: Index, *, limit: int) -> list[str]:
    """The registries of a project that are rotated. New ones over the limit wait.

    A registry that has been served is never left out, so a lower limit ends no credential.

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


def want_of_room(index: Index, *, limit: int) -> str:
    """Why :func:`served` leaves registries out, and the remedy."""
    if index.full:
        return "the index of its project is full: remove registries, or put some into another project"
    return (
        f"its project may have {limit}, and has them: remove some, or ask a platform admin for more "
        "(regcred project add P --max-registries N)"
    )
