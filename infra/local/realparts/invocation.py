"""Invokes functions in the runtime interface emulator, which can't handle two invocations at once."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import requests


def invoke(url: str, event: Any, *, lock: Path, timeout: float = 300) -> Any:
    """Wait until no other invocation of a function runs, invoke it, and return its response or error.

    Args:
        url: the emulator's invocation address.
        event: the event for the function.
        lock: the file that each invocation of this function locks.
        timeout: seconds.

    Raises:
        requests.RequestException: the emulator does not respond.
    """
    session = requests.Session()
    session.trust_env = False
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        answer = session.post(url, data=json.dumps(event), timeout=timeout)
    return answer.json() if answer.content else None
