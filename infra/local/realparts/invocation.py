"""One invocation of a function under the runtime interface emulator, which breaks when two overlap."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import requests


def invoke(url: str, event: Any, *, lock: Path, timeout: float = 300) -> Any:
    """Invoke a function when no other invocation of it runs, and return its answer, errors too.

    Args:
        url: the emulator's invocation address.
        event: what the function gets.
        lock: the file that all who invoke this function lock.
        timeout: seconds.

    Raises:
        requests.RequestException: the emulator does not answer.
    """
    session = requests.Session()
    session.trust_env = False
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        answer = session.post(url, data=json.dumps(event), timeout=timeout)
    return answer.json() if answer.content else None
