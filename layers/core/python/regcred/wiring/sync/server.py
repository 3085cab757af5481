"""What the loop serves over HTTP: /healthz, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from regcred.errors import MalformedError
from regcred.sync import Loop
from regcred.wiring.sync.metrics import Metrics


@asynccontextmanager
async def serve(loop: Loop, metrics: Metrics, *, port: int, host: str = "") -> AsyncIterator[int]:
    """Serve on a port while open; yields the port.

    Args:
        loop: Says whether it is alive and ready.
        metrics: What /metrics shows.
        port: Where; 0 for nowhere.
        host: The address to listen on; all if empty.

    Raises:
        MalformedError: the port is taken.
    """
    if not port:
        yield 0
        return

    async def healthz(_: web.Request) -> web.Response:
        return _answer("passes are being made", "no pass was made for too long", well=loop.alive)

    async def readyz(_: web.Request) -> web.Response:
        return _answer("ready", "Vault, or a kind of workload, has not been read yet", well=loop.ready)

    async def show(_: web.Request) -> web.Response:
        return web.Response(
            body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", show)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host or None, port).start()
    except OSError as error:
        await runner.cleanup()
        raise MalformedError(
            f"REGCRED_METRICS_PORT: port {port} can't be opened ({error.strerror})"
        ) from None
    try:
        yield port
    finally:
        await runner.cleanup()


def _answer(good: str, bad: str, *, well: bool) -> web.Response:
    return web.Response(text=f"{good if well else bad}\n", status=200 if well else 503)
