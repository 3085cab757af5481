"""A message to the person while another server is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from regcred.cli.output import say

FIRST = 3.0
"""Seconds before the first message."""

EVERY = 10.0
"""Seconds between two messages."""

Around = Callable[[str], AbstractContextManager[None]]
"""The context manager around each request. It gets the server's name for people (``Vault at https://…``)."""


@contextmanager
def reporting_delay(server: str, *, first: float = FIRST, every: float = EVERY) -> Iterator[None]:
    """Print a message if the response takes long.

    Args:
        server: The server's name.
        first: Seconds until the first message.
        every: Seconds between two messages.
    """
    done = threading.Event()

    def report() -> None:
        started = time.monotonic()
        pause = first
        while not done.wait(pause):
            say(f"waiting for {server} since {time.monotonic() - started:.0f} s (Ctrl-C gives up)")
            pause = every

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
