"""A message to the person while another server is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache

from regcred.cli.output import say

FIRST = 3.0
"""Seconds before the first message."""

EVERY = 10.0
"""Seconds between two messages."""

Around = Callable[[str], AbstractContextManager[None]]
"""The context manager around each request. It gets the server's name for people (``Vault at https://…``)."""


@contextmanager
def reporting_delay(whom: str, *, first: float = FIRST, every: float = EVERY) -> Iterator[None]:
    """Print a message if the response takes long.

    Args:
        whom: The server's name.
        first: Seconds until the first message.
        every: Seconds between two messages.
    """
    reporter = _reporter(first, every)
    request = reporter.begin(whom)
    try:
        yield
    finally:
        reporter.end(request)


@lru_cache(maxsize=8)
def _reporter(first: float, every: float) -> _Reporter:
    return _Reporter(first, every)


class _Reporter:
    """One thread that watches all open requests.

    A thread for each request would cost more than many a request.
    """

    def __init__(self, first: float, every: float) -> None:
        self._first = first
        self._every = every
        self._lock = threading.Lock()
        self._open: dict[int, tuple[str, float]] = {}
        """By request: the server's name, and since when."""
        self._said: dict[str, float] = {}
        self._last = 0
        self._thread: threading.Thread | None = None

    def begin(self, whom: str) -> int:
        """Watch a request, and return its number."""
        with self._lock:
            self._last += 1
            self._open[self._last] = (whom, time.monotonic())
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
        """One message for each server, whatever the number of requests that wait for it."""
        with self._lock:
            since: dict[str, float] = {}
            for whom, started in self._open.values():
                since[whom] = min(started, since.get(whom, started))
            late = {whom: started for whom, started in since.items() if now - started >= self._first}
            self._said = {whom: at for whom, at in self._said.items() if whom in late}
            due = [whom for whom in late if now - self._said.get(whom, -self._every) >= self._every]
            self._said |= dict.fromkeys(due, now)
            for whom in due:
                say(f"waiting for {whom} since {now - late[whom]:.0f} s (Ctrl-C gives up)")
