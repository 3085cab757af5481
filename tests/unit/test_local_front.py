"""The proxy before the local registry forwards headers of clients and of Distribution, also with several
lines."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import Mock

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict

from realparts.serving import UPSTREAM
from realparts.token_server.front import Front

TYPES = ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.v2+json"]
CHALLENGES = ['Bearer realm="https://a.example.com"', 'Basic realm="b"']


async def exchange() -> tuple[list[str], list[str]]:
    """The Accept lines that Distribution receives, and the challenges that a client receives."""
    seen: list[str] = []

    async def distribution(request: web.Request) -> web.Response:
        seen.extend(request.headers.getall("Accept"))
        return web.Response(
            status=401, headers=CIMultiDict(("WWW-Authenticate", text) for text in CHALLENGES)
        )

    behind = web.Application()
    behind.router.add_route("*", "/{path:.*}", distribution)
    async with TestServer(behind) as upstream, aiohttp.ClientSession() as session:
        nobody: Any = Mock()
        front = Front(nobody, nobody, nobody, upstream=str(upstream.make_url("")).rstrip("/"))
        app = web.Application()
        app[UPSTREAM] = session
        app.router.add_route("*", "/{path:.*}", front.answer)
        async with TestServer(app) as server:
            url = server.make_url("/v2/team/app/manifests/1")
            async with session.get(url, headers=CIMultiDict(("Accept", text) for text in TYPES)) as answer:
                return seen, answer.headers.getall("WWW-Authenticate")


def test_all_lines_of_a_header_are_forwarded() -> None:
    accepted, challenged = asyncio.run(exchange())
    assert accepted == TYPES
    assert challenged == CHALLENGES
