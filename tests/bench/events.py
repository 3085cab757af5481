"""A front of OpenBao that has Vault's events: requests go through, subscribers are told what the benchmark
says was written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from edges.test_vault_events import EventServer, event

HOP = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "content-encoding"}


class Front:
    """The handle; made by :func:`front`."""

    def __init__(self, behind: str, http: aiohttp.ClientSession) -> None:
        self._behind, self._http = behind, http
        self._events = EventServer()
        self.addr = ""

    async def told(self, path: str) -> None:
        """Send the event of a written document, as Vault Enterprise words it."""
        await self._events.send(event(path))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a subscriber; send everything else on."""
        if "/sys/events/" in request.path:
            return await self._events.subscribe(request)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        url, body = f"{self._behind}{request.rel_url}", await request.read()
        async with self._http.request(request.method, url, data=body, headers=headers) as response:
            kept = {name: value for name, value in response.headers.items() if name.lower() not in HOP}
            return web.Response(status=response.status, body=await response.read(), headers=kept)


@asynccontextmanager
async def front(behind: str) -> AsyncIterator[Front]:
    """Serve it on a port of its own."""
    async with aiohttp.ClientSession() as http:
        served = Front(behind, http)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", served.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        served.addr = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield served
        finally:
            await runner.cleanup()
