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
"""The maximum age of the configuration and the public keys. Ended logins are always read."""


@dataclass
class CachedRecords:
    """:class:`regcred.token.interface.Records` that caches the configuration and the keys for some seconds.

    Several threads may read at the same time. Each then reads once.
    """

    records: Records
    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, tuple[float, Any]] = field(default_factory=dict, repr=False)

    def config(self) -> SystemConfig:
        """The configuration of the system registry."""
        return self._recent("config", self.records.config)

    def keys(self) -> SystemKeys:
        """The public keys."""
        return self._recent("keys", self.records.keys)

    def project(self, project: str) -> ProjectPolicy | None:
        """What a project may use, without a cache."""
        return self.records.project(project)

    def ended(self, owner: str) -> EndedLogins:
        """The logins that have ended, without a cache."""
        return self.records.ended(owner)

    def change_ended(self, owner: str, change: Callable[[EndedLogins], EndedLogins]) -> None:
        """Change the ended logins."""
        self.records.change_ended(owner, change)

    def remember_once(self, owner: str, digest: str, *, until: float, now: float) -> bool:
        """Record that an identity token was used."""
        return self.records.remember_once(owner, digest, until=until, now=now)

    def _recent(self, name: str, read: Callable[[], T]) -> T:
        since, value = self._kept.get(name, (float("-inf"), None))
        if self.clock() - since < KEEP_SECONDS:
            kept: T = value
            return kept
        fresh = read()
        self._kept[name] = self.clock(), fresh
        return fresh
