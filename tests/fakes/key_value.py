"""A KV v2 mount in memory, with faults on demand; held to the same contract as the real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from regcred.errors import ConflictError, RegcredError
from regcred.vault.interface import Document


@dataclass
class _Entry:
    versions: dict[int, dict[str, str]] = field(default_factory=dict)
    newest: int = 0


@dataclass
class FakeKeyValue:
    """Keeps what is written. ``faults`` maps an operation and a path prefix to the error to raise."""

    faults: dict[tuple[str, str], RegcredError] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def read(self, path: str) -> Document | None:
        self._meet("read", path)
        entry = self._entries.get(path)
        if entry is None or entry.newest not in entry.versions:
            return None
        return Document(dict(entry.versions[entry.newest]), entry.newest)

    def version(self, path: str) -> int:
        self._meet("version", path)
        entry = self._entries.get(path)
        return entry.newest if entry else 0

    def write(self, path: str, fields: Mapping[str, str], *, cas: int) -> int:
        self._meet("write", path)
        entry = self._entries.setdefault(path, _Entry())
        if entry.newest != cas:
            raise ConflictError(f"{path}: is at version {entry.newest}, not {cas}")
        entry.newest += 1
        entry.versions[entry.newest] = dict(fields)
        return entry.newest

    def destroy(self, path: str, versions: Sequence[int]) -> None:
        self._meet("destroy", path)
        entry = self._entries.get(path)
        for version in versions:
            if entry:
                entry.versions.pop(version, None)

    def delete(self, path: str) -> None:
        self._meet("delete", path)
        self._entries.pop(path, None)

    def list(self, folder: str) -> list[str]:
        self._meet("list", folder)
        prefix = f"{folder}/"
        rests = [path.removeprefix(prefix) for path in self._entries if path.startswith(prefix)]
        return sorted({name + slash for name, slash, _ in (rest.partition("/") for rest in rests)})

    def paths(self) -> list[str]:
        """All paths that hold something."""
        return sorted(self._entries)

    def _meet(self, operation: str, path: str) -> None:
        self.calls.append((operation, path))
        for (faulty, prefix), error in self.faults.items():
            if faulty == operation and path.startswith(prefix):
                raise error
