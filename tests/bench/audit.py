"""What was asked of the API server and of Vault, from their audit logs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

WRITES = {"create", "update", "patch", "delete", "deletecollection"}


class _Log:
    """A log from where it ends now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._from = path.stat().st_size

    def entries(self, *words: str) -> Iterator[dict[str, Any]]:
        """The entries since then whose lines hold all words."""
        with self._path.open("rb") as log:
            log.seek(self._from)
            for line in log:
                if all(word.encode() in line for word in words) and line.endswith(b"\n"):
                    yield json.loads(line)


class ApiAudit(_Log):
    """The requests of sync (by its user agent) since this was made."""

    def asked(self, agent: str = "regcred-sync") -> Counter[str]:
        """How many of each verb and resource; a watch counts when it is opened."""
        found: Counter[str] = Counter()
        for entry in self.entries(f'"userAgent":"{agent}"'):
            watch = entry["verb"] == "watch"
            if watch == (entry["stage"] == "ResponseStarted"):
                found[f"{entry['verb']} {entry.get('objectRef', {}).get('resource', '?')}"] += 1
        return found


def only(found: Counter[str], verbs: set[str]) -> Counter[str]:
    """Those of some verbs."""
    return Counter({what: number for what, number in found.items() if what.split()[0] in verbs})


class VaultAudit(_Log):
    """The requests since this was made: those of the cluster's identity, unless the administrator's are asked
    for."""

    def answered(self, *, root: bool = False) -> Iterator[tuple[float, str, str]]:
        """When, operation and path."""
        for entry in self.entries('"type":"response"'):
            if root == ("root" in (entry.get("auth", {}).get("policies") or ())):
                request = entry["request"]
                yield _seconds(entry["time"]), request["operation"], request["path"]

    def asked(self) -> Counter[str]:
        """How many of each operation and path."""
        return Counter(f"{operation} {path}" for _, operation, path in self.answered())

    def first(self, operation: str, path: str, *, after: float = 0, root: bool = False) -> float:
        """When something was first answered after a moment."""
        times = (
            at
            for at, what, where in self.answered(root=root)
            if (what, where) == (operation, path) and at >= after
        )
        return next(times)


def _seconds(text: str) -> float:
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
