"""The web servers of the console and of the token server: connections that send nothing, or slowly, take
little and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from regcred.wiring import bounded_http
from regcred.wiring.bounded_http import BoundedProtocol


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(bounded_http, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(bounded_http, "CONNECTIONS", 20)
    config = uvicorn.Config(
        app, port=0, lifespan="off", http=BoundedProtocol, log_level="critical", timeout_keep_alive=30
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


async def ends(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(10):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


async def ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_request_is_answered(port: int) -> None:
    assert (await ask(port)).endswith(b"ok")


async def test_idle_connections_are_few_and_others_are_served(port: int) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
    assert (await ask(port)).endswith(b"ok")
    assert len(BoundedProtocol._open) <= 20
    assert all([await ends(reader) for reader, _ in idle])
    assert not BoundedProtocol._open
    for _, writer in idle:
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
    ],
    ids=["nothing", "headers", "body"],
)
async def test_a_request_that_drips_is_ended(port: int, head: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)

    async def drip() -> None:
        while not writer.is_closing():
            writer.write(b"a" if head else b"")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    assert await ends(reader)
    dripping.cancel()
    writer.close()


async def test_a_second_request_that_drips_is_ended_too(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" in await reader.readuntil(b"ok")
    writer.write(b"GET / HT")
    assert await ends(reader)
    writer.close()
