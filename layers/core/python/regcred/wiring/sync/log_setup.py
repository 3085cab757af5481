"""Structured logs of sync: one JSON object per line on standard error, without secrets."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from regcred.log import RedactingFormatter, cut

FIELD_MAX = 4096
"""The maximum number of characters of a field."""

ITEM_MAX = 400
"""The maximum number of characters of an item in a list."""

ITEMS_MAX = 20
"""The maximum number of items in a list."""


class JsonFormatter(logging.Formatter):
    """Formats a record and its fields as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": cut(record.getMessage(), FIELD_MAX),
            "logger": record.name,
            **{name: _bounded(value) for name, value in getattr(record, "fields", {}).items()},
        }
        if record.exc_info:
            line["error"] = cut(self.formatException(record.exc_info), FIELD_MAX)
        return json.dumps(line, default=str)


def _bounded(value: object) -> object:
    """Shorten a field's value. The line would no longer be complete JSON if it was cut as a whole."""
    if isinstance(value, list | tuple):
        return [cut(str(item), ITEM_MAX) for item in value[:ITEMS_MAX]]
    return value if isinstance(value, int | float | None) else cut(str(value), FIELD_MAX)


def set_up_logging(level: str) -> None:
    """Send the logs of ``level`` (debug, info, warning, error) and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(JsonFormatter()))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("regcred").setLevel(level.upper())
