"""A proxy in front of OpenBao that adds Vault's events.

The benchmark sends the events. The proxy forwards all other requests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from fakes.vault_events import EventServer, event

NOT_FORWARDED = {
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "accept-encoding",
    "content-encoding",
}


class EventProxy:
    """The proxy, made by :func:`event_proxy`."""

    def __init__(self, address: str, http: aiohttp.ClientSession) -> None:
        self._address, self._http = address, http
        self._events = EventServer()
        self.addr = ""

    async def send_event(self, path: str) -> None:
        """Send subscribers the event that Vault Enterprise sends after a write of this path."""
        await self._events.send(event(path))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a subscriber, and forward every other request."""
        if "/sys/events/" in request.path:
            return await self._events.subscribe(request)
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in NOT_FORWARDED
        }
        url, body = f"{self._address}{request.rel_url}", await request.read()
        async with self._http.request(request.method, url, data=body, headers=headers) as response:
            forwarded = {
                name: value for name, value in response.headers.items() if name.lower() not in NOT_FORWARDED
            }
            return web.Response(status=response.status, body=await response.read(), headers=forwarded)


@asynccontextmanager
async def event_proxy(address: str) -> AsyncIterator[EventProxy]:
    """Serve the proxy for the OpenBao at `address` on a free port."""
    async with aiohttp.ClientSession() as http:
        proxy = EventProxy(address, http)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", proxy.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        proxy.addr = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield proxy
        finally:
            await runner.cleanup()
