"""The console on the user's machine: on a loopback address, with the Vault token of the command line."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from secrets import token_urlsafe

from regcred.console.interface import ConsoleOptions, Method, SignInKind, Ticket
from regcred.console.sealed_cookies import FixedKeys
from regcred.wiring.cli import connection
from regcred.wiring.console import PATIENCE, application
from regcred.wiring.dispatch_nudge import nudge

ADDRESS = "127.0.0.1"


def run(port: int, ready: Callable[[str, str], None]) -> None:
    """Serve until interrupted.

    Args:
        port: The port; 0 for any free port.
        ready: Called when the server listens, with its address and the address that signs in once.

    Raises:
        MalformedError: An environment variable is missing or wrong.
        OSError: The port is in use.
    """
    import uvicorn

    from regcred.wiring.bounded_http import LIMITS

    own = connection(os.environ, Path.home())
    listening = socket.create_server((ADDRESS, port))
    # asyncio sets this for its own sockets only; without it, each page waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    origin = f"http://{ADDRESS}:{listening.getsockname()[1]}"
    ticket = Ticket(token_urlsafe(24), own.token)
    settings = ConsoleOptions(
        methods=(Method(SignInKind.TOKEN),), origin=origin, local=True, vault=own.server.addr
    )
    app = application(
        settings,
        replace(own.server, timeout=PATIENCE),
        own.mount,
        FixedKeys.new(),
        nudge=nudge,
        ticket=ticket,
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        lifespan="off",
        proxy_headers=False,
        **LIMITS,
    )
    server = uvicorn.Server(config)
    ready(origin, f"{origin}/sign-in/ticket?ticket={ticket.secret}")
    server.run(sockets=[listening])
