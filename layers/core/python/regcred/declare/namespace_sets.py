"""Compares lists of namespaces that may contain patterns. Pure."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

from regcred.declare.kinds import Grant


def covered(name: str, by: Collection[str]) -> bool:
    """Whether a list allows all that a name or pattern stands for.

    A pattern has no other wildcard than ``*``, and only a ``*`` matches a ``*``. So a pattern that another
    one matches as a text stands for no more than that one.
    """
    return name in by or any("*" in other and fnmatchcase(name, other) for other in by)


def lost(old: Collection[str], new: Collection[str]) -> list[str]:
    """The names and patterns that the new list does not allow completely."""
    return sorted(name for name in old if not covered(name, new))


def common(old: Collection[str], new: Collection[str]) -> list[str]:
    """What both lists allow. It keeps ``team-a`` where ``team-*`` becomes ``team-a``, and the reverse."""
    return sorted({name for name in old if covered(name, new)} | {name for name in new if covered(name, old)})


def common_grant(old: Grant, new: Grant) -> Grant | None:
    """What two grants both allow; None if it is nothing."""
    return Grant.if_any(
        common(old.namespaces, new.namespaces), common(old.delegated, new.delegated), globs=new.globs
    )
