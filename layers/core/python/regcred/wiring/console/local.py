"""The console on the user's own machine: over a loopback address, with the token that the command line has."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from secrets import token_urlsafe

from regcred.console.interface import Kind, Method, Settings, Ticket
from regcred.console.seal import FixedKeys
from regcred.wiring.cli import connection
from regcred.wiring.console import PATIENCE, application
from regcred.wiring.nudge import nudge

ADDRESS = "127.0.0.1"


def run(port: int, ready: Callable[[str, str], None]) -> None:
    """Serve until it is interrupted.

    Args:
        port: Where to listen; 0 for any free port.
        ready: Called once it listens, with its address and with the address that signs in, which works once.

    Raises:
        MalformedError: A variable of the environment is missing or wrong.
        OSError: The port is taken.
    """
    import uvicorn

    own = connection(os.environ, Path.home())
    listening = socket.create_server((ADDRESS, port))
    origin = f"http://{ADDRESS}:{listening.getsockname()[1]}"
    ticket = Ticket(token_urlsafe(24), own.token)
    settings = Settings(methods=(Method(Kind.TOKEN),), origin=origin, local=True, vault=own.server.addr)
    app = application(
        settings,
        replace(own.server, timeout=PATIENCE),
        own.mount,
        FixedKeys.new(),
        nudge=nudge,
        ticket=ticket,
    )
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", server_header=False, proxy_headers=False
    )
    server = uvicorn.Server(config)
    ready(origin, f"{origin}/sign-in/ticket?ticket={ticket.secret}")
    server.run(sockets=[listening])
