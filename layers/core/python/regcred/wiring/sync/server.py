"""The HTTP server of the loop: /healthz, /readyz, /metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from regcred.errors import MalformedError
from regcred.sync import Loop
from regcred.wiring.sync.connections import Connections
from regcred.wiring.sync.metrics import Metrics

QUIET = logging.getLogger("regcred.sync.server")
"""aiohttp's logger. It would log each malformed request with a traceback, and any client can send many."""
QUIET.setLevel(logging.CRITICAL)

FRESH = 0.5
"""How many seconds the text of the metrics is cached, because it is slow to create."""


@asynccontextmanager
async def serve(loop: Loop, metrics: Metrics, *, port: int, host: str = "") -> AsyncIterator[int]:
    """Serve on a port while the context is open. Yields the port.

    Args:
        loop: The loop, for /healthz and /readyz.
        metrics: The metrics, for /metrics.
        port: The port; 0 for no server.
        host: The address to listen on; all addresses if empty.

    Raises:
        MalformedError: the port is in use.
    """
    if not port:
        yield 0
        return

    async def healthz(_: web.Request) -> web.Response:
        return _answer("the loop is running", "the loop has made no run for too long", well=loop.alive)

    async def readyz(_: web.Request) -> web.Response:
        return _answer("ready", "Vault or a kind of workload has not been read yet", well=loop.ready)

    text, made_at = b"", float("-inf")

    async def scrape(_: web.Request) -> web.Response:
        nonlocal text, made_at
        if time.monotonic() - made_at >= FRESH:
            text, made_at = metrics.text(), time.monotonic()
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", scrape)])
    runner = web.AppRunner(app, access_log=None, logger=QUIET)
    await runner.setup()
    try:
        server = runner.server
        assert server is not None  # noqa: S101 - set since the set-up
        listening = await asyncio.get_running_loop().create_server(
            Connections().bounded(server), host or None, port
        )
    except OSError as error:
        await runner.cleanup()
        raise MalformedError(
            f"REGCRED_METRICS_PORT: port {port} can't be opened ({error.strerror})"
        ) from None
    try:
        yield port
    finally:
        listening.close()
        await runner.cleanup()


def _answer(good: str, bad: str, *, well: bool) -> web.Response:
    return web.Response(text=f"{good if well else bad}\n", status=200 if well else 503)
