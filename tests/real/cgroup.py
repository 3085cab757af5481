"""A memory limit for one process, as the kubelet sets it: a cgroup of version 1 or 2, below our own."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")


class MemoryLimit:
    """A cgroup with a memory limit. :meth:`wrap` runs a command in it."""

    def __init__(self, folder: Path, *, limit: int, unified: bool) -> None:
        self._folder = folder
        self._peak_file = "memory.peak" if unified else "memory.max_usage_in_bytes"
        folder.mkdir()
        (folder / ("memory.max" if unified else "memory.limit_in_bytes")).write_text(str(limit))
        with contextlib.suppress(OSError):  # no swap, if the kernel accounts for it
            (folder / ("memory.swap.max" if unified else "memory.memsw.limit_in_bytes")).write_text(
                "0" if unified else str(limit)
            )

    def wrap(self, command: list[str]) -> list[str]:
        """A command that runs another one inside the limit."""
        enter = f'echo $$ > {self._folder}/cgroup.procs && exec "$@"'
        return ["/bin/sh", "-c", enter, "sh", *command]

    @property
    def peak(self) -> int:
        """The largest number of bytes in use so far."""
        return int((self._folder / self._peak_file).read_text())

    def remove(self) -> None:
        """Remove the cgroup. Its processes must have ended."""
        self._folder.rmdir()


@contextlib.contextmanager
def memory_limit(mebibytes: int) -> Iterator[MemoryLimit]:
    """A cgroup with this limit. The test is skipped if the machine can't create one."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}
    unified = "memory" not in own
    folder = (ROOT / own[""].lstrip("/")) if unified else ROOT / "memory" / own["memory"].lstrip("/")
    try:
        limit = MemoryLimit(
            folder / f"regcred-test-{uuid.uuid4().hex[:8]}", limit=mebibytes * 2**20, unified=unified
        )
    except OSError as error:
        pytest.skip(f"needs root and a writable cgroup of memory: {error}")
    try:
        yield limit
    finally:
        limit.remove()
