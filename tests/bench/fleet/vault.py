"""The Vault of a fleet, in memory."""

from __future__ import annotations

from fakes.key_value import FakeKeyValue

from bench.fleet.time import Clock, Outages
from regcred.errors import TransientError


class Vault(FakeKeyValue):
    """A Vault with outages."""

    def __init__(self, clock: Clock, outages: Outages) -> None:
        super().__init__()
        self._clock, self._outages = clock, outages
        self._lists: dict[str, tuple[int, list[str]]] = {}

    def _record(self, operation: str, path: str) -> None:
        if self._outages.windows and self._outages.at(self._clock()):
            raise TransientError("Vault is unreachable")

    def list(self, folder: str) -> list[str]:
        """List as the fake does, but with a cache, because the fake reads all paths for each list."""
        self._record("list", folder)
        size, names = self._lists.get(folder, (0, []))
        if size != len(self._entries):
            names = super().list(folder)
            self._lists[folder] = (len(self._entries), names)
        return names

    def text(self, path: str) -> str:
        """A document's text, even during an outage. Empty if there is no document."""
        entry = self._entries.get(path)
        return entry.versions[entry.newest]["document"] if entry else ""
