"""The CPU time and memory of a process, from /proc."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Cost:
    """The CPU time and peak memory of a process since this object was created or restarted."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")
        self.restart()

    def restart(self) -> None:
        """Start CPU time and peak memory again from now."""
        (self._proc / "clear_refs").write_text("5")
        self._cpu, self._at = self._used(), time.monotonic()

    def _used(self) -> float:
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    @property
    def cpu(self) -> float:
        """CPU seconds."""
        return self._used() - self._cpu

    @property
    def share(self) -> float:
        """CPU seconds per second: the share of one core."""
        return self.cpu / (time.monotonic() - self._at)

    @property
    def peak(self) -> float:
        """Peak resident memory, in MiB."""
        return self._memory("VmHWM")

    @property
    def resident(self) -> float:
        """Current resident memory, in MiB."""
        return self._memory("VmRSS")

    def _memory(self, field: str) -> float:
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024
