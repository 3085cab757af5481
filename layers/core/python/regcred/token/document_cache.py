"""Caches documents that change rarely for some seconds.

A token then needs three requests to Vault instead of five.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from regcred.token.interface import Records
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.system import EndedLogins, SystemConfig, SystemKeys

T = TypeVar("T")

KEEP_SECONDS = 10.0
"""How old the configuration and the public keys may be. What has ended is always read."""


@dataclass
class CachedRecords:
    """:class:`regcred.token.interface.Records` that keeps the configuration and the keys for some seconds.

    Threads may read at the same time; then each reads once.
    """

    records: Records
    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, tuple[float, Any]] = field(default_factory=dict, repr=False)

    def config(self) -> SystemConfig:
        """How the system registry is set up."""
        return self._recent("config", self.records.config)

    def keys(self) -> SystemKeys:
        """The public keys."""
        return self._recent("keys", self.records.keys)

    def project(self, project: str) -> ProjectPolicy | None:
        """What a project may use, as of now."""
        return self.records.project(project)

    def ended(self, owner: str) -> EndedLogins:
        """Which logins have ended, as of now."""
        return self.records.ended(owner)

    def change_ended(self, owner: str, change: Callable[[EndedLogins], EndedLogins]) -> None:
        """Change that."""
        self.records.change_ended(owner, change)

    def remember_once(self, owner: str, digest: str, *, until: float, now: float) -> bool:
        """Remember that an identity token was used."""
        return self.records.remember_once(owner, digest, until=until, now=now)

    def _recent(self, name: str, read: Callable[[], T]) -> T:
        since, value = self._kept.get(name, (float("-inf"), None))
        if self.clock() - since < KEEP_SECONDS:
            kept: T = value
            return kept
        fresh = read()
        self._kept[name] = self.clock(), fresh
        return fresh
