"""Remembers when sync began to evict stuck Pods of a ServiceAccount. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class Evictions:
    """By namespace and ServiceAccount: the time of the first eviction since the account's names changed."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], datetime] = {}

    @property
    def since(self) -> Mapping[tuple[str, str], datetime]:
        """The time of the first eviction, by namespace and ServiceAccount."""
        return self._since

    def begin(self, namespace: str, account: str, now: datetime) -> None:
        """Record an eviction. Only the first one counts."""
        self._since.setdefault((namespace, account), now)

    def end(self, namespace: str, account: str) -> None:
        """Forget a ServiceAccount whose names have changed. Its Pods may now be stuck for another reason."""
        self._since.pop((namespace, account), None)
