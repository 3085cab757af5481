"""Structured log lines of sync."""

from __future__ import annotations

import logging
from typing import Any

LOG = logging.getLogger("regcred.sync")


def log(level: int, message: str, **fields: Any) -> None:
    """Write one structured log line. ``fields`` must not contain a secret."""
    LOG.log(level, message, extra={"fields": fields})
