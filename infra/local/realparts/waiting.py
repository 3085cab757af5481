"""Waits for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests


def eventually(check: Callable[[], Any], *, what: str = "", seconds: float = 120) -> Any:
    """Call `check` ten times a second until its result is true, and return it. An HTTP error counts as false.

    Args:
        check: the condition.
        what: the name of the condition, for the error message.
        seconds: the maximum time.

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
            refused = f"; the last response: {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s{what and f': {what}'}{refused}")
        time.sleep(0.1)
