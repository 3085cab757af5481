"""The requests to the API server and to Vault, from their audit logs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

WRITES = {"create", "update", "patch", "delete", "deletecollection"}


class _Log:
    """The part of a log that is written after this object is created."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size

    def entries(self, *words: str) -> Iterator[dict[str, Any]]:
        """Yield the entries whose lines contain all words."""
        with self._path.open("rb") as log:
            log.seek(self._start)
            for line in log:
                if all(word.encode() in line for word in words) and line.endswith(b"\n"):
                    yield json.loads(line)


class ApiAudit(_Log):
    """The API requests of one client since this object was created."""

    def counts(self, agent: str = "regcred-sync") -> Counter[str]:
        """Count the requests by "verb resource". A watch counts once, when it is opened."""
        found: Counter[str] = Counter()
        for entry in self.entries(f'"userAgent":"{agent}"'):
            watch = entry["verb"] == "watch"
            if watch == (entry["stage"] == "ResponseStarted"):
                found[f"{entry['verb']} {entry.get('objectRef', {}).get('resource', '?')}"] += 1
        return found


def only(found: Counter[str], verbs: set[str]) -> Counter[str]:
    """Keep only the counts of these verbs."""
    return Counter({what: number for what, number in found.items() if what.split()[0] in verbs})


class VaultAudit(_Log):
    """The Vault requests since this object was created."""

    def responses(self, *, root: bool = False) -> Iterator[tuple[float, str, str]]:
        """Yield time (seconds since the epoch), operation and path.

        Args:
            root: Whether to take the requests with the root token, instead of all others.
        """
        for entry in self.entries('"type":"response"'):
            if root == ("root" in (entry.get("auth", {}).get("policies") or ())):
                request = entry["request"]
                yield _seconds(entry["time"]), request["operation"], request["path"]

    def counts(self) -> Counter[str]:
        """Count the requests without the root token by "operation path"."""
        return Counter(f"{operation} {path}" for _, operation, path in self.responses())

    def first(self, operation: str, path: str, *, after: float = 0, root: bool = False) -> float:
        """Return the time of the first such response at or after `after`, in seconds since the epoch."""
        times = (
            at
            for at, what, where in self.responses(root=root)
            if (what, where) == (operation, path) and at >= after
        )
        return next(times)


def _seconds(text: str) -> float:
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
