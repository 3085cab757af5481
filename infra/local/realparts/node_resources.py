"""Creates, finds and removes what a node uses of the machine: a cgroup, mounts and sockets."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_CONTAINER_LOGS = Path("/var/log/containers")


class NodeResources:
    """Everything that the node of one stack uses of the machine, under one name.

    Args:
        stack: the stack's folder.
        directory: the node's folder in it.
    """

    def __init__(self, stack: Path, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self.name = f"regcred-{hashlib.sha256(str(stack).encode()).hexdigest()[:8]}"
        # Sockets have paths of at most 107 characters.
        self.run_directory = Path(f"/run/{self.name}")

    def impossible(self) -> str | None:
        """Return why this machine can't run a node; None if it can."""
        if sys.platform != "linux":
            return "a node needs Linux"
        if os.geteuid() != 0:
            return "a node needs root: run the same command with sudo"
        if not shutil.which("runc") and not shutil.which("apt-get"):
            return "a node needs runc: install it with the system's package manager"
        try:
            self._make_cgroups()
        except OSError as error:
            return f"a node needs cgroups, and creating one failed ({error})"
        if reason := self._unmountable():
            return f"a node needs mounts, and mounting failed ({reason})"
        return None

    def make(self) -> None:
        """Create the cgroups and the folder of the sockets."""
        self._make_cgroups()
        self.run_directory.mkdir(exist_ok=True, mode=0o700)

    def kill_all(self) -> None:
        """Kill every process in the cgroups."""
        deadline = time.monotonic() + 10
        while (pids := self._contained()) and time.monotonic() < deadline:
            for pid in pids:
                _kill(pid)
            time.sleep(0.1)

    def take_away(self) -> None:
        """Kill all processes, and remove everything with its folders.

        Safe to call at any time. It does nothing on a machine that can't run a node.
        """
        if sys.platform != "linux" or os.geteuid() != 0:
            return
        self.kill_all()
        for mount in sorted(self._mounts(), key=len, reverse=True):
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
        for root in self._cgroup_paths():
            for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
                _remove_cgroup(folder)
            _remove_cgroup(root)
        _remove_dangling_links(_CONTAINER_LOGS, self._directory)
        for folder in (self._directory, self.run_directory):
            shutil.rmtree(folder, ignore_errors=True)

    def _make_cgroups(self) -> None:
        for path in self._cgroup_paths():
            path.mkdir(exist_ok=True)

    def _unmountable(self) -> str:
        probe = self._stack / "mount-probe"
        probe.mkdir(parents=True, exist_ok=True)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "tmpfs", probe], capture_output=True, text=True, check=False
        )
        if mounted.returncode:
            return mounted.stderr.strip() or f"mount ended with {mounted.returncode}"
        # Lazy, because a kubelet on the machine may be reading the size of this mount.
        subprocess.run(["umount", "--lazy", probe], check=True)
        probe.rmdir()
        return ""

    def _contained(self) -> set[int]:
        found = set()
        for root in self._cgroup_paths():
            for path in [root / "cgroup.procs", *root.rglob("cgroup.procs")]:
                try:
                    found |= {int(line) for line in path.read_text().split()}
                except OSError:
                    continue
        return found

    def _cgroup_paths(self) -> list[Path]:
        if (_CGROUPS / "cgroup.controllers").exists():
            return [_CGROUPS / self.name]
        controllers = [path for path in _CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]
        return [path / self.name for path in controllers if (path / "cgroup.procs").exists()]

    def _mounts(self) -> list[str]:
        ours = (f"{self._stack}/", f"{self.run_directory}/")
        mounts = [line.split()[4].encode().decode("unicode_escape") for line in _mountinfo()]
        return [mount for mount in mounts if mount.startswith(ours)]


def is_overlay(directory: Path) -> bool:
    """Whether a folder is on an overlay file system, which can't be the upper layer of another one."""
    fields = [line.split() for line in _mountinfo()]
    mounts = {line[4]: line[line.index("-") + 1] for line in fields}
    nearest = next(str(path) for path in (directory, *directory.parents) if str(path) in mounts)
    return mounts[nearest] == "overlay"


def _mountinfo() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _remove_cgroup(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return


def _remove_dangling_links(folder: Path, target: Path) -> None:
    """Remove the kubelet's links in /var/log/containers to the logs of our Pods."""
    if folder.is_dir():
        for link in folder.iterdir():
            if link.is_symlink() and str(link.readlink()).startswith(f"{target}/"):
                link.unlink()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
