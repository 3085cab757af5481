"""A KV v2 mount in memory, with faults on demand. It passes the same contract tests as real Vaults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from regcred.errors import ConflictError, MalformedError, RefusedError, RegcredError, TransientError
from regcred.vault.interface import Document


@dataclass
class _Entry:
    versions: dict[int, dict[str, object]] = field(default_factory=dict)
    newest: int = 0


@dataclass
class FakeKeyValue:
    """Keeps the newest version of each document. ``faults`` maps an operation and a path prefix to an error.

    ``wait`` is called with the name of each operation before it. A test can add latency there, or let another
    thread go first.
    """

    faults: dict[tuple[str, str], RegcredError] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    wait: Callable[[str], None] = lambda _: None
    sealed: bool = False
    forbidden: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def read(self, path: str) -> Document | None:
        self._record("read", path)
        entry = self._entries.get(path)
        if entry is None or entry.newest not in entry.versions:
            return None
        fields = dict(entry.versions[entry.newest])
        _must_be_strings(path, fields)
        return Document(fields, entry.newest)

    def version(self, path: str) -> int:
        self._record("version", path)
        entry = self._entries.get(path)
        return entry.newest if entry else 0

    def write(self, path: str, fields: Mapping[str, str], *, cas: int) -> int:
        self._record("write", path)
        _must_be_strings(path, fields)
        return self.put(path, fields, cas=cas)

    def put(self, path: str, fields: Mapping[str, object], *, cas: int | None = None) -> int:
        """Write fields of any type, as another client of Vault can; without check-and-set if ``cas`` is
        None."""
        with self._lock:
            newest = self._entries[path].newest if path in self._entries else 0
            if cas not in {None, newest}:
                raise ConflictError(f"{path}: is at version {newest}, not {cas}")
            entry = self._entries.setdefault(path, _Entry())
            entry.newest += 1
            entry.versions = {entry.newest: dict(fields)}
            return entry.newest

    def destroy(self, path: str, versions: Sequence[int]) -> None:
        self._record("destroy", path)
        entry = self._entries.get(path)
        for version in versions:
            if entry:
                entry.versions.pop(version, None)

    def delete(self, path: str) -> None:
        self._record("delete", path)
        self._entries.pop(path, None)

    def list(self, folder: str) -> list[str]:
        self._record("list", folder)
        prefix = f"{folder}/"
        rests = [path.removeprefix(prefix) for path in self._entries if path.startswith(prefix)]
        return sorted({name + slash for name, slash, _ in (rest.partition("/") for rest in rests)})

    def paths(self) -> list[str]:
        """The paths of all documents."""
        return sorted(self._entries)

    def _record(self, operation: str, path: str) -> None:
        self.calls.append((operation, path))
        self.wait(operation)
        if self.sealed:
            raise TransientError("Vault: the server is sealed or in maintenance")
        if self.forbidden:
            raise RefusedError(f"Vault: {operation} {path}: permission denied")
        for (faulty, prefix), error in self.faults.items():
            if faulty == operation and path.startswith(prefix):
                raise error


def _must_be_strings(path: str, fields: Mapping[str, object]) -> None:
    for name, value in fields.items():
        if not isinstance(value, str):
            raise MalformedError(f"{path}: the field {name!r} is not a string", field=name)
