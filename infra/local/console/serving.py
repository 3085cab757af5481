"""Serves the console on this machine, in a thread of this process."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import trustme
import uvicorn

from regcred.console.interface import ConsoleOptions, Method, SealingKeys, SignInKind, Ticket, never_nudge
from regcred.console.sealed_cookies import FixedKeys
from regcred.vault.http import Server
from regcred.wiring.console import PATIENCE, application

METHODS = (
    Method(SignInKind.OIDC, role="console"),
    Method(SignInKind.USERPASS),
    Method(SignInKind.TOKEN),
)


@dataclass
class Served:
    """A running console."""

    origin: str
    thread: threading.Thread

    def wait(self) -> None:
        """Wait until it stops."""
        while self.thread.is_alive():
            self.thread.join(1)


@contextmanager
def served(
    vault: str,
    *,
    port: int = 0,
    tls: bool = True,
    methods: tuple[Method, ...] = METHODS,
    idle: timedelta = timedelta(minutes=30),
    longest: timedelta = timedelta(hours=10),
    fresh: timedelta = timedelta(seconds=10),
    stale: timedelta = timedelta(minutes=2),
    timeout: tuple[float, float] = PATIENCE,
    keys: SealingKeys | None = None,
    ticket: Ticket | None = None,
    nudge: Callable[[str], bool] = never_nudge,
) -> Iterator[Served]:
    """Serve the console at a loopback address until the ``with`` block ends.

    Args:
        vault: The address of Vault.
        port: Its port; 0 for a free one.
        tls: Whether to use TLS with a new certificate. Without it, the console runs as in `regcred console`.
        methods: The sign-in methods.
        idle, longest, fresh, stale: See the console's settings.
        timeout: The timeouts of requests to Vault, in seconds.
        keys: The sealing keys; a new key if None.
        ticket: A sign-in that works once.
        nudge: Starts dispatch early.
    """
    listening = socket.create_server(("127.0.0.1", port))
    # asyncio sets this only for its own sockets. Without it, each page waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    scheme = "https" if tls else "http"
    origin = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
    settings = ConsoleOptions(
        methods=methods,
        origin=origin,
        local=not tls,
        idle=idle,
        longest=longest,
        fresh=fresh,
        stale=stale,
        vault=vault,
    )
    server = replace(Server(vault), timeout=timeout)
    app = application(settings, server, "regcred", keys or FixedKeys.new(), ticket=ticket, nudge=nudge)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", server_header=False)
    config.load()
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        config.ssl = context
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    try:
        yield Served(origin, thread)
    finally:
        running.should_exit = True
        thread.join(5)
        listening.close()
