"""The report of a selftest, as text for a bug report and as a document for programs. Pure.

It contains no secret: the credential and the upstream secret are removed from every text, because a vendor's
message may contain them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from regcred.log import HIDDEN, cut, redact
from regcred.printable import printable
from regcred.wording import duration

DETAIL_MAX = 600
"""The maximum length of a check's text. Vendors write parts of it."""

_SHORTEST = 4
"""The minimum length of a secret that is removed. A shorter text would match everywhere."""


class CheckResult(StrEnum):
    """The result of a check, or of the whole selftest."""

    PASSED = "passed"
    FAILED = "failed"
    UNPROVEN = "unproven"
    """The registry could not be reached, or its response proves nothing."""
    NOT_OFFERED = "not-offered"
    """The vendor can't do it."""
    NOT_RUN = "not-run"


@dataclass(frozen=True, slots=True)
class SelftestCheck:
    """One line of a report."""

    name: str
    result: CheckResult
    detail: str
    after: timedelta = timedelta(0)
    """The time since the credential was created."""


@dataclass(frozen=True, slots=True)
class SelftestReport:
    """The results of a selftest."""

    provider: str
    versions: str
    """The versions of Regcred and Python."""
    started_at: datetime
    ended_at: datetime
    probe: str
    fields: Sequence[str]
    """The names of the definition's fields that are set."""
    checks: Sequence[SelftestCheck]
    hosts: Sequence[str] = ()
    expires_at: datetime | None = None
    secrets: frozenset[str] = field(default_factory=frozenset, repr=False)
    """The texts to remove from the report."""

    @property
    def result(self) -> CheckResult:
        """The worst result of all checks. A revocation that the vendor does not offer does not count."""
        found = {check.result for check in self.checks}
        return next(
            (one for one in (CheckResult.FAILED, CheckResult.UNPROVEN) if one in found), CheckResult.PASSED
        )

    def document(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "result": str(self.result),
            "provider": self.provider,
            "versions": self.versions,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "ended_at": self.ended_at.isoformat(timespec="seconds"),
            "probe": self.probe,
            "fields": list(self.fields),
            "hosts": [self._clean(host) for host in self.hosts],
            "expires_at": self.expires_at.isoformat(timespec="seconds") if self.expires_at else None,
            "checks": [
                {
                    "check": check.name,
                    "after_seconds": int(check.after.total_seconds()),
                    "result": str(check.result),
                    "detail": self._clean(check.detail),
                }
                for check in self.checks
            ],
        }

    def text(self) -> str:
        """The report for people: Markdown to paste into a bug report."""
        found = self.document()
        head = (
            ("result", found["result"]),
            ("versions", found["versions"]),
            ("time", f"{found['started_at']} to {found['ended_at']}"),
            ("fields that are set", ", ".join(self.fields)),
            ("probe", self.probe),
            ("hosts", ", ".join(found["hosts"]) or "-"),
            ("expires", found["expires_at"] or "never, or unknown"),
        )
        lines = [f"### Selftest of provider {self.provider}", ""]
        lines += [f"- {name}: {value}" for name, value in head]
        lines += ["", "| check | after | result | detail |", "|---|---|---|---|"]
        lines += [
            f"| {check.name} | {duration(check.after)} | {check.result} | {_cell(shown['detail'])} |"
            for check, shown in zip(self.checks, found["checks"], strict=True)
        ]
        return "\n".join(lines) + "\n"

    def _clean(self, text: str) -> str:
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return cut(redact(printable(text)), DETAIL_MAX)


def secret_texts(values: Iterable[str]) -> frozenset[str]:
    """The texts to remove from the report: each secret, and each line of it."""
    found = {part.strip() for value in values for part in (value, *value.splitlines())}
    return frozenset(text for text in found if len(text) >= _SHORTEST)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
