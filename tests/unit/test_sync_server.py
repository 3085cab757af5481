"""The port for /metrics and the probes, which anybody in the cluster's network can reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from regcred.wiring.sync import connections
from regcred.wiring.sync.metrics import Metrics
from regcred.wiring.sync.server import serve

HOST = "127.0.0.1"


@dataclass
class Alive:
    alive: bool = True
    ready: bool = True


@pytest.fixture
async def port(unused_tcp_port: int) -> AsyncIterator[int]:
    async with serve(Alive(), Metrics(), port=unused_tcp_port, host=HOST) as port:
        yield port


async def status(port: int, path: str) -> int:
    timeout = aiohttp.ClientTimeout(total=5)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.get(f"http://{HOST}:{port}{path}") as found,
    ):
        return found.status


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def flood(port: int, sent: bytes, number: int) -> list[Connection]:
    opened = []
    for _ in range(number):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(sent)
        opened.append((reader, writer))
    return opened


async def ended(opened: list[Connection]) -> int:
    """How many of them the server has closed."""
    await asyncio.sleep(0.2)
    return sum(reader.at_eof() or reader.exception() is not None for reader, _ in opened)


def close(opened: list[Connection]) -> None:
    for _, writer in opened:
        writer.transport.abort()


@pytest.mark.parametrize(
    "sent", [b"", b"GET /metrics HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le"]
)
@pytest.mark.no_cover
async def test_probes_are_answered_despite_many_connections(port: int, sent: bytes) -> None:
    opened = await flood(port, sent, 400)
    try:
        assert await status(port, "/healthz") == 200
        assert await status(port, "/readyz") == 200
        assert await ended(opened) >= 400 - connections.CONNECTIONS
    finally:
        close(opened)


async def test_a_slow_request_is_closed(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    monkeypatch.setattr(connections.Connections.__init__, "__kwdefaults__", {"most": 128, "seconds": 0.3})
    async with serve(Alive(), Metrics(), port=unused_tcp_port, host=HOST) as port:
        [(_, writer)] = await flood(port, b"GET / HTTP/1.1\r\n", 1)
        try:
            for _ in range(100):
                writer.write(b"X: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        except OSError:
            return
        pytest.fail("the connection was open for 5 seconds")


async def test_invalid_requests_write_nothing_to_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    opened = await flood(port, b"\x16\x03\x01\r\n\r\n", 5)
    await asyncio.sleep(0.2)
    close(opened)
    assert caplog.records == []


async def test_many_requests_share_one_text_of_metrics(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    made = []
    monkeypatch.setattr(Metrics, "text", lambda _: made.append(1) or b"x 1\n")
    for _ in range(20):
        assert await status(port, "/metrics") == 200
    assert len(made) < 20
