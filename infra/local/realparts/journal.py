"""Records the requests to a stand-in, one JSON line for each, so that tests can check them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

FILE = "events.jsonl"


class Journal:
    """Writes the journal in a folder."""

    def __init__(self, directory: Path) -> None:
        self._lines = (directory / FILE).open("a", buffering=1)

    def write(self, **event: Any) -> None:
        """Add an event, with the `time` in seconds since the epoch."""
        self._lines.write(json.dumps({"time": time.time(), **event}) + "\n")


def read(directory: Path, **wanted: Any) -> list[dict[str, Any]]:
    """Return the events in a folder's journal that have the wanted values, oldest first; none if there is no
    journal yet."""
    try:
        lines = (directory / FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    events = [json.loads(line) for line in lines]
    return [event for event in events if all(event.get(key) == value for key, value in wanted.items())]
