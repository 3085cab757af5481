"""Which documents in Vault can be read, for the log, the metrics and the report."""

from __future__ import annotations

import logging

from regcred.sync.logging import log
from regcred.sync.metrics import Meter


class DocumentHealth:
    """Records for each polled document whether its current state is known.

    Args:
        meter: Shows it as a gauge.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.problems: dict[str, str] = {}
        """By document (the path of the grants, or a project): why its current state is unknown."""
        self._readable: dict[str, bool] = {}

    def mark_readable(self, name: str) -> None:
        """Record that a document was read."""
        if self.problems.pop(name, None):
            log(logging.INFO, "Vault can be read again", document=name)
        self._show(name, readable=True)

    def mark_unreadable(self, name: str, problem: object) -> None:
        """Record that the current state of a document is unknown, and why."""
        if self.problems.get(name) != str(problem):
            log(
                logging.WARNING,
                "a document in Vault can't be read, so its Secrets stay as they are",
                document=name,
                problem=str(problem),
            )
        self.problems[name] = str(problem)
        self._show(name, readable=False)

    def forget(self, name: str) -> None:
        """Forget a document that is no longer polled."""
        self.problems.pop(name, None)
        self._readable.pop(name, None)
        self._meter.replace(
            "vault_document_known", [({"document": name}, known) for name, known in self._readable.items()]
        )

    def _show(self, name: str, *, readable: bool) -> None:
        self._readable[name] = readable
        self._meter.set("vault_document_known", readable, document=name)
