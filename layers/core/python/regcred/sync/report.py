"""A report of what sync did. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

FAILURES_KEPT = 1000
"""The maximum number of failures that a report lists."""


@dataclass(slots=True)
class Report:
    """What was done since the last report."""

    created: int = 0
    updated: int = 0
    repaired: int = 0
    removed: int = 0
    attached: int = 0
    evicted: int = 0
    sent: int = 0
    deferred: int = 0
    """Removals that wait because a live Pod names the Secret."""
    failures: list[str] = field(default_factory=list)

    def add_failure(self, problem: str) -> None:
        """List a failure, unless the list is full."""
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(problem)

    def __str__(self) -> str:
        done = {
            "created": self.created,
            "updated": self.updated,
            "repaired": self.repaired,
            "removed": self.removed,
            "ServiceAccounts changed": self.attached,
            "Pods evicted": self.evicted,
            "Events": self.sent,
            "put off for live Pods": self.deferred,
            "failed": len(self.failures),
        }
        return ", ".join(f"{number} {what}" for what, number in done.items() if number) or "nothing to do"
