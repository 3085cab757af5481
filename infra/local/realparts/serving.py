"""Serves the stand-ins in front of a real server: two ports, a session with the server, and SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

UPSTREAM = web.AppKey("upstream", aiohttp.ClientSession)
"""A session with the real server. It does not decompress responses."""


def arguments() -> argparse.Namespace:
    """Parse a stand-in's command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True, help="the public port")
    parser.add_argument("--control-port", type=int, required=True, help="the port for this machine's tests")
    parser.add_argument("--upstream", required=True, help="the real server's URL")
    parser.add_argument("--directory", type=Path, required=True, help="the folder of its state")
    parser.add_argument("--ecr-key", type=Path, required=True, help="the file with the key of `AWS:` logins")
    return parser.parse_args()


def public_application(handlers: Mapping[str, Handler], *, largest_body: int) -> web.Application:
    """Return an application with an `UPSTREAM` session.

    Args:
        handlers: by path, the handler of all methods. The first matching path is used.
        largest_body: the maximum size of a body in bytes.
    """
    application = web.Application(client_max_size=largest_body)
    for path, handler in handlers.items():
        application.router.add_route("*", path, handler)
    application.cleanup_ctx.append(_upstream)
    return application


def serve(applications: Mapping[int, web.Application]) -> None:
    """Serve each application on its port of 127.0.0.1 until SIGTERM or SIGINT."""
    asyncio.run(_serve(applications))


async def _serve(applications: Mapping[int, web.Application]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runners = []
    for port, application in applications.items():
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        runners.append(runner)
    await stop.wait()
    for runner in runners:
        await runner.cleanup()


async def _upstream(application: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        application[UPSTREAM] = session
        yield
