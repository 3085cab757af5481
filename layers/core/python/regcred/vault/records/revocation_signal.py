"""The signal: a short document that all clusters poll often, so that a revocation reaches them in seconds."""

from __future__ import annotations

from hashlib import sha256
from typing import Self

from regcred.vault.records.document import Record

KEPT = 200
"""How many projects the signal names. A cluster that polls every few seconds misses none."""


class Signal(Record):
    """``signals/ended``: written by rotate after an index in which a registry was revoked or removed.

    It gives no rights. When the mark of a project changes, a cluster reads that project's index at once.
    """

    ended: dict[str, int] = {}
    """By the :func:`mark` of a project: how often it has ended a credential. The newest is last."""

    def with_project(self, project: str) -> Self:
        """The document after a credential of a project was ended."""
        name = mark(project)
        others = {key: count for key, count in self.ended.items() if key != name}
        newest = list(others.items())[-(KEPT - 1) :]
        return self.model_copy(update={"ended": {**dict(newest), name: self.ended.get(name, 0) + 1}})


def mark(project: str) -> str:
    """The mark of a project. Clusters must not learn the names of projects that they may not use."""
    return sha256(project.encode()).hexdigest()[:16]
