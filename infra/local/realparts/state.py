"""The state that the processes of a stack share: ports, addresses and keys, in one file with mode 600."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class State:
    """A JSON object for each part, in `state.json` of the stack's folder.

    Writers use a lock, and replace the file as a whole.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "state.json"

    def part(self, name: str) -> dict[str, Any]:
        """Return the values of one part; empty if there are none."""
        stored = self._read().get(name, {})
        assert isinstance(stored, dict)
        return stored

    def update(self, name: str, **values: Any) -> dict[str, Any]:
        """Store values of one part, and return all its values."""
        with self._locked():
            content = self._read()
            content[name] = {**content.get(name, {}), **values}
            self._write(content)
            return dict(content[name])

    def remove(self, name: str) -> None:
        """Delete the values of one part."""
        with self._locked():
            content = self._read()
            content.pop(name, None)
            self._write(content)

    def clear(self) -> None:
        """Delete all values."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        assert isinstance(content, dict)
        return content

    def _write(self, content: dict[str, Any]) -> None:
        unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(content, indent=1))
        unfinished.rename(self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
