"""The web servers of the console and the token server limit idle and slow connections in number and time."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from regcred.wiring import bounded_http
from regcred.wiring.bounded_http import BoundedProtocol
from regcred.wiring.console import local


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
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event that a test can await
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


@pytest.fixture
async def own_console(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """The port of a running ``regcred console``."""
    monkeypatch.setattr(bounded_http, "IDLE_SECONDS", 0.2)
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "t")
    servers: list[uvicorn.Server] = []

    class Server(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            servers.append(self)

    monkeypatch.setattr(uvicorn, "Server", Server)
    ready: queue.Queue[str] = queue.Queue()
    thread = threading.Thread(target=local.run, args=(0, lambda origin, _: ready.put(origin)))
    thread.start()
    yield int((await asyncio.to_thread(ready.get, timeout=30)).rpartition(":")[2])
    servers[0].should_exit = True
    await asyncio.to_thread(thread.join)


async def test_the_local_console_closes_connections_that_send_nothing(own_console: int) -> None:
    for head in (b"", b"GET / HTTP/1.1\r\nX-A: "):
        reader, writer = await asyncio.open_connection("127.0.0.1", own_console)
        writer.write(head)
        assert await is_closed(reader)
        writer.close()


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Wait up to 10 seconds until the server closes a connection without an answer."""
    async with asyncio.timeout(10):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


async def get(port: int) -> bytes:
    """The answer to a request. It tries again, because a busy machine may need longer than the idle
    timeout."""
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        try:
            if answer := await reader.read():
                return answer
        except ConnectionResetError:
            continue
        finally:
            writer.close()
    raise AssertionError("no answer")


async def test_a_request_is_answered(port: int) -> None:
    assert (await get(port)).endswith(b"ok")


async def test_idle_connections_are_limited_and_do_not_block_requests(port: int) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
    assert (await get(port)).endswith(b"ok")
    assert len(BoundedProtocol._open) <= 20
    assert all([await is_closed(reader) for reader, _ in idle])
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
async def test_a_request_that_arrives_byte_by_byte_is_closed(port: int, head: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)

    async def drip() -> None:
        while not writer.is_closing():
            writer.write(b"a" if head else b"")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    assert await is_closed(reader)
    dripping.cancel()
    writer.close()


async def test_a_second_request_that_does_not_end_is_closed_too(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" in await reader.readuntil(b"ok")
    writer.write(b"GET / HT")
    assert await is_closed(reader)
    writer.close()
