"""The Vault of a fleet, in memory."""

from __future__ import annotations

from fakes.key_value import FakeKeyValue

from bench.fleet.time import Clock, Outages
from regcred.errors import TransientError


class Vault(FakeKeyValue):
    """A Vault that goes away at times."""

    def __init__(self, clock: Clock, outages: Outages) -> None:
        super().__init__()
        self._clock, self._outages = clock, outages
        self._lists: dict[str, tuple[int, list[str]]] = {}

    def _record(self, operation: str, path: str) -> None:
        if self._outages.windows and self._outages.at(self._clock()):
            raise TransientError("Vault is out of reach")

    def list(self, folder: str) -> list[str]:
        """Like the fake, which looks at all paths. That is slow for a large fleet, so the answer is kept."""
        self._record("list", folder)
        size, names = self._lists.get(folder, (0, []))
        if size != len(self._entries):
            names = super().list(folder)
            self._lists[folder] = (len(self._entries), names)
        return names

    def text(self, path: str) -> str:
        """A document's text, for who watches the simulation."""
        entry = self._entries.get(path)
        return entry.versions[entry.newest]["document"] if entry else ""
