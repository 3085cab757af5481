"""What a stand-in was asked, one JSON line per event, for the tests that look at it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

FILE = "events.jsonl"


class Journal:
    """The journal in a folder, for the stand-in that writes it."""

    def __init__(self, directory: Path) -> None:
        self._lines = (directory / FILE).open("a", buffering=1)

    def write(self, **event: Any) -> None:
        """Add an event, with the `time` in seconds since the epoch."""
        self._lines.write(json.dumps({"time": time.time(), **event}) + "\n")


def read(directory: Path, **wanted: Any) -> list[dict[str, Any]]:
    """Return the events of a folder's journal whose values equal the wanted ones, oldest first; none if
    nobody wrote yet."""
    try:
        lines = (directory / FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    events = [json.loads(line) for line in lines]
    return [event for event in events if all(event.get(key) == value for key, value in wanted.items())]
