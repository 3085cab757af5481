"""Connects the console to the real classes, for the three ways to run it: Lambda, a cluster and a laptop."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp

from regcred.adapters.console_vault import ConsoleVault
from regcred.clock import utc_now
from regcred.console.app import build
from regcred.console.console import Console
from regcred.console.interface import ConsoleOptions, SealingKeys, Ticket, never_nudge
from regcred.console.sealed_cookies import Seal
from regcred.log import redact
from regcred.vault.http import Server

PATIENCE = (2.0, 6.0)
"""The maximum seconds to connect to Vault, and between two bytes of the response. A person waits for the
page."""

_LOG = logging.getLogger("regcred.console")


def application(
    settings: ConsoleOptions,
    server: Server,
    mount: str,
    keys: SealingKeys,
    *,
    nudge: Callable[[str], bool] = never_nudge,
    ticket: Ticket | None = None,
) -> ASGIApp:
    """Create a console. Nothing is sent yet."""
    console = Console(
        settings=settings,
        vault=ConsoleVault(server, mount),
        seal=Seal(keys),
        now=utc_now,
        nudge=nudge,
        ticket=ticket,
        log_event=log_event,
    )
    return build(console)


def log_event(event: str, **fields: Any) -> None:
    """Write one line of the log. Values that look like secrets are hidden."""
    _LOG.info(redact(json.dumps({"message": event, **fields}, default=str)))


def log_to(stream: Any = sys.stdout) -> None:
    """Let :func:`log_event` write to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOG.handlers = [handler]
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
