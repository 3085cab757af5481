"""Distinguishes a stale read of Vault from a restored Vault. Pure.

A lower version counts as stale at first, and as valid if it stays.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from regcred.clock import Clock
from regcred.registry_reference import Reference

BEHIND_FOR = timedelta(minutes=5)
"""How long a lower version counts as a stale read. If it stays for longer, Vault was restored."""


class CredentialVersions:
    """Remembers the highest version of each credential.

    Args:
        clock: Returns the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._highest: dict[Reference, int] = {}
        self._behind: dict[Reference, datetime] = {}
        """Since when the index names a lower version."""

    def remember(self, reference: Reference, version: int) -> None:
        """Record that a version has existed, so that an older index is recognized as stale."""
        self._highest[reference] = max(version, self._highest.get(reference, 0))

    def note(self, reference: Reference, version: int) -> bool:
        """Record the version that an index names.

        Return whether that version may be used. If not, the index is a stale read.
        """
        if version >= self._highest.get(reference, 0):
            self._behind.pop(reference, None)
            self._highest[reference] = version
            return True
        now = self._clock()
        return now - self._behind.setdefault(reference, now) >= BEHIND_FOR

    def vault_restored(self, reference: Reference) -> bool:
        """Whether Vault was restored from an older state, so that a lower version is valid."""
        since = self._behind.get(reference)
        return since is not None and self._clock() - since >= BEHIND_FOR

    def is_behind(self, project: str) -> bool:
        """Whether the index of a project was stale at its last read, so that it must be read again."""
        return any(reference.project == project for reference in self._behind)
