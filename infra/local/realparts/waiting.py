"""Wait until something is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests


def eventually(check: Callable[[], Any], *, what: str = "", seconds: float = 120) -> Any:
    """Ask ten times a second until the answer is true, and return it; an HTTP error counts as not yet.

    Args:
        check: what is asked.
        what: what is waited for, for the error text.
        seconds: how long.

    Raises:
        AssertionError: it was not true in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        refused = ""
        try:
            if answer := check():
                return answer
        except requests.HTTPError as error:
            refused = f"; the last answer: {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s{what and f': {what}'}{refused}")
        time.sleep(0.1)
