"""Prints a message while a server is slow, so that the user knows what the command waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from regcred.cli.output import say

FIRST = 3.0
"""Seconds before the first message."""

EVERY = 10.0
"""Seconds between two messages."""


@contextmanager
def reporting_delay(server: str, *, first: float = FIRST, every: float = EVERY) -> Iterator[None]:
    """Print a message if the request in the block takes long.

    Args:
        server: The server's name for the message, as in ``Vault at https://vault.example.com``.
        first: Seconds until the first message.
        every: Seconds between two messages.
    """
    reporter = _reporter(first, every)
    request = reporter.begin(server)
    try:
        yield
    finally:
        reporter.end(request)


@lru_cache(maxsize=8)
def _reporter(first: float, every: float) -> _Reporter:
    return _Reporter(first, every)


class _Reporter:
    """Watches all open requests with one thread, because a thread for each request costs too much."""

    def __init__(self, first: float, every: float) -> None:
        self._first = first
        self._every = every
        self._lock = threading.Lock()
        self._open: dict[int, tuple[str, float]] = {}
        """By request: the server's name, and the start."""
        self._reported: dict[str, float] = {}
        """By server: the time of the last message."""
        self._last = 0
        self._thread: threading.Thread | None = None

    def begin(self, server: str) -> int:
        """Watch a request, and return its number."""
        with self._lock:
            self._last += 1
            self._open[self._last] = (server, time.monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, daemon=True)
                self._thread.start()
            return self._last

    def end(self, request: int) -> None:
        """Stop watching a request."""
        with self._lock:
            del self._open[request]

    def _watch(self) -> None:
        while True:
            time.sleep(min(self._first, self._every) / 2)
            self._report(time.monotonic())

    def _report(self, now: float) -> None:
        """Print one message for each slow server, even if several requests wait for it."""
        with self._lock:
            since: dict[str, float] = {}
            for server, started in self._open.values():
                since[server] = min(started, since.get(server, started))
            late = {server: started for server, started in since.items() if now - started >= self._first}
            self._reported = {server: at for server, at in self._reported.items() if server in late}
            due = [name for name in late if now - self._reported.get(name, -self._every) >= self._every]
            self._reported |= dict.fromkeys(due, now)
            for server in due:
                say(f"still waiting for {server} after {now - late[server]:.0f} s (Ctrl-C stops the command)")
