"""A word to the person while another server keeps them waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from regcred.cli.output import say

FIRST = 3.0
"""Seconds of silence before the first word."""

EVERY = 10.0
"""Seconds between two more."""

Around = Callable[[str], AbstractContextManager[None]]
"""What is entered around each request, with the server's name for people (``Vault at https://…``)."""


@contextmanager
def told(whom: str, *, first: float = FIRST, every: float = EVERY) -> Iterator[None]:
    """Say that an answer is waited for, if it does not come soon.

    Args:
        whom: Who is waited for.
        first: Seconds until the first word.
        every: Seconds between two more.
    """
    done = threading.Event()

    def speak() -> None:
        started = time.monotonic()
        pause = first
        while not done.wait(pause):
            say(f"waiting for {whom} since {time.monotonic() - started:.0f} s (Ctrl-C gives up)")
            pause = every

    teller = threading.Thread(target=speak, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
