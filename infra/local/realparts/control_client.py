"""Sends requests of a handle to the control port of its stand-in."""

from __future__ import annotations

from typing import Any

import requests


def control(port: int, method: str, path: str, body: Any) -> Any:
    """Send a request to a control port and return the JSON answer.

    Raises:
        ValueError: the stand-in refused it. The message contains the reason.
    """
    session = requests.Session()
    session.trust_env = False
    answer = session.request(method, f"http://127.0.0.1:{port}/{path}", json=body, timeout=10)
    if not answer.ok:
        raise ValueError(f"{method} {path}: {answer.text[:300]}")
    return answer.json()
