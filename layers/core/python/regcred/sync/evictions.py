"""Remembers since when stuck Pods of a ServiceAccount are evicted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class Evictions:
    """By namespace and ServiceAccount: when the first stuck Pod was evicted since the account's names changed."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], datetime] = {}

    @property
    def since(self) -> Mapping[tuple[str, str], datetime]:
        """When the first eviction was, by namespace and ServiceAccount."""
        return self._since

    def begin(self, namespace: str, account: str, now: datetime) -> None:
        """Take note of an eviction; only the first counts."""
        self._since.setdefault((namespace, account), now)

    def end(self, namespace: str, account: str) -> None:
        """Forget a ServiceAccount whose names have changed: its Pods may be stuck for another reason now."""
        self._since.pop((namespace, account), None)
