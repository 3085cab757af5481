"""Limits the number of connections of a server, and the time of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

CONNECTIONS = 128
"""The maximum number of open connections. A newer one replaces the oldest."""

SECONDS = 10.0
"""The maximum time of a connection. A probe or a scrape takes far less."""


class Connections:
    """The open connections of one server, oldest first."""

    def __init__(self, *, most: int = CONNECTIONS, seconds: float = SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._open: dict[asyncio.Transport, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """The number of open connections."""
        return len(self._open)

    def bounded(self, factory: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """A server's protocol factory with limited connections."""
        return lambda: _CountedProtocol(factory(), self)

    def add(self, transport: asyncio.Transport) -> None:
        """Add a new connection. It replaces the oldest if there are too many."""
        loop = asyncio.get_running_loop()
        self._open[transport] = loop.call_later(self._seconds, transport.abort)
        while len(self._open) > self._most:
            oldest = next(iter(self._open))
            self.remove(oldest)
            oldest.abort()

    def remove(self, transport: asyncio.Transport) -> None:
        """Forget a closed connection."""
        timer = self._open.pop(transport, None)
        if timer is not None:
            timer.cancel()


class _CountedProtocol(asyncio.Protocol):
    """Forwards everything to another protocol, and registers its connection."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self._inner = inner
        self._connections = connections
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP server creates this type
        self._transport = transport
        self._inner.connection_made(transport)
        self._connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._connections.remove(self._transport)
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
