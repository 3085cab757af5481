"""Compares lists of namespaces that may contain patterns. Pure."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

from regcred.declare.kinds import Grant


def covered(name: str, by: Collection[str]) -> bool:
    """Whether a list allows everything that a name or pattern matches.

    The only wildcard is ``*``, and only a ``*`` matches a ``*``. So if one pattern matches the text of
    another pattern, it also matches everything that the other one matches.
    """
    return name in by or any("*" in other and fnmatchcase(name, other) for other in by)


def lost(old: Collection[str], new: Collection[str]) -> list[str]:
    """The names and patterns that the new list does not allow completely."""
    return sorted(name for name in old if not covered(name, new))


def common(old: Collection[str], new: Collection[str]) -> list[str]:
    """The names and patterns that both lists allow: ``team-a`` for ``team-*`` and ``team-a``."""
    return sorted({name for name in old if covered(name, new)} | {name for name in new if covered(name, old)})


def common_grant(old: Grant, new: Grant) -> Grant | None:
    """The grant that allows what both grants allow; None if that is nothing."""
    return Grant.if_any(
        common(old.namespaces, new.namespaces), common(old.delegated, new.delegated), globs=new.globs
    )
