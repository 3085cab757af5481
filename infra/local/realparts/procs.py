"""Starts and stops long-running programs so that no process is left behind.

Every process has its own session, a pidfile that it writes before the program begins, and two variables in
its environment, the marks: the stack's folder and the name of the process. If a pidfile is missing, the marks
show which processes to stop. So no process survives, even if the process that started it was killed.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

STACK_MARK = "REGCRED_STACK"
NAME_MARK = "REGCRED_PROC"
# The shell writes its own pid and then becomes the program, so the process never exists without a pidfile.
_LAUNCHER = 'echo $$ > "$0.new" && mv "$0.new" "$0" && exec "$@"'


class StartError(RuntimeError):
    """A real part did not start. The message names the part and its log."""


def free_ports(count: int) -> list[int]:
    """Return `count` different free TCP ports of 127.0.0.1."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def listening(port: int) -> bool:
    """Whether something accepts TCP connections on this port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class Processes:
    """The processes of one stack folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.pids = self.directory / "pids"
        self.logs = self.directory / "logs"

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        ready: Callable[[], bool],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 60,
    ) -> int:
        """Start a program in the background and wait until `ready()` is true.

        Args:
            name: the name of the pidfile and of the log file.
            argv: the program and its arguments.
            ready: called every 100 ms. An exception counts as not ready.
            env: the environment without the marks; the current one if None.
            cwd: the working directory; the stack's folder if None.
            timeout: seconds to wait for `ready()`.

        Returns:
            The process id.

        Raises:
            StartError: it ended, or was not ready in time. In that case it is stopped.
        """
        self.pids.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        pidfile = self.pids / name
        pidfile.unlink(missing_ok=True)
        log = self.logs / f"{name}.log"
        marks = {STACK_MARK: str(self.directory), NAME_MARK: name}
        with log.open("ab") as output:
            child = subprocess.Popen(
                ["/bin/sh", "-c", _LAUNCHER, str(pidfile), *(str(arg) for arg in argv)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**(os.environ if env is None else env), **marks},
                cwd=cwd or self.directory,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout
        while True:
            if child.poll() is not None:
                pidfile.unlink(missing_ok=True)
                raise StartError(f"{name} ended with code {child.returncode}; its log is {log}\n{tail(log)}")
            if _is_true(ready):
                return child.pid
            if time.monotonic() > deadline:
                self.stop(name, grace=2)
                raise StartError(f"{name} was not ready after {timeout:.0f} s; its log is {log}\n{tail(log)}")
            time.sleep(0.1)

    def pid(self, name: str) -> int | None:
        """Return the process id of a running process of this stack, or None."""
        try:
            pid = int((self.pids / name).read_text())
        except (OSError, ValueError):
            return None
        return pid if self._mark(pid, NAME_MARK) == name else None

    def running(self) -> list[str]:
        """Return the names of the processes that run now, sorted."""
        if not self.pids.is_dir():
            return []
        return sorted(path.name for path in self.pids.iterdir() if self.pid(path.name))

    def stop(self, name: str, *, grace: float = 10) -> None:
        """Stop a process and its children: SIGTERM, then SIGKILL after `grace` seconds."""
        pid = self.pid(name)
        if pid is not None:
            end([pid], grace=grace)
        (self.pids / name).unlink(missing_ok=True)

    def sweep(self) -> list[int]:
        """Kill all other processes with this stack's mark, and return their IDs."""
        left = self.marked()
        end(left, grace=1)
        return left

    def marked(self) -> list[int]:
        """Return the IDs of the processes with this stack's mark, except this process and its parents."""
        own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        return [
            pid
            for pid in psutil.pids()
            if pid not in own and self._mark(pid, STACK_MARK) == str(self.directory)
        ]

    def _mark(self, pid: int, mark: str) -> str | None:
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return process.environ().get(mark)
        except (psutil.Error, OSError):
            return None


def end(pids: Iterable[int], *, grace: float) -> None:
    """Stop processes and their children: SIGTERM to the processes, and SIGKILL to all that still run after
    `grace` seconds."""
    roots = [process for pid in pids if (process := _process(pid))]
    tree = {child for root in roots for child in _children(root)} | set(roots)
    for root in roots:
        _signal(root, signal.SIGTERM)
    for process in _wait(tree, grace):
        _signal(process, signal.SIGKILL)
    _wait(tree, 5)


def _wait(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until the processes have ended, and return those that still run. A zombie counts as ended."""
    deadline = time.monotonic() + seconds
    while alive := [process for process in processes if _alive(process)]:
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.02)
    return []


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def wait_for(what: str, check: Callable[[], bool], *, timeout: float = 60, interval: float = 0.2) -> None:
    """Wait until `check()` is true. An exception counts as false.

    Raises:
        StartError: it was not true after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not _is_true(check):
        if time.monotonic() > deadline:
            raise StartError(f"{what} did not happen within {timeout:.0f} s")
        time.sleep(interval)


def _is_true(check: Callable[[], bool]) -> bool:
    try:
        return bool(check())
    except Exception:
        return False


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return
