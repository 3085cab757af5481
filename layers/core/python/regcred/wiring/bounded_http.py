"""uvicorn's HTTP protocol with two limits: on the number of connections, and on the time of a request.

uvicorn only limits how long a connection stays open after a response. Without these limits, a client that
sends nothing, or one byte at a time, keeps its connection forever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 512
"""The maximum number of open connections. A newer one replaces the oldest."""

IDLE_SECONDS = 10.0
"""The interval of the checks. A new connection has this long to send the head of its first request. For a
later request, it may have twice as long."""

REQUEST_CHECKS = 6
"""The number of checks that a request may last, with its body and the response."""

HEAD_MAX = 32 * 1024
"""The maximum bytes of a request's head."""


class BoundedProtocol(H11Protocol):
    """One connection of a web server."""

    _open: dict[BoundedProtocol, None] = {}  # noqa: RUF012 - all connections of the process, oldest first
    _timer: asyncio.TimerHandle | None = None
    _seen: object = None
    _checks = 0

    def connection_made(self, transport: Any) -> None:
        """Count a new connection. It replaces the oldest if there are too many."""
        super().connection_made(transport)
        self._open[self] = None
        self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._check)
        while len(self._open) > CONNECTIONS:
            next(iter(self._open))._end()  # noqa: SLF001 - its own class

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a closed connection."""
        self._forget()
        super().connection_lost(exc)

    def _check(self) -> None:
        """End the connection if it still waits for a request, or if its request lasts too long."""
        self._checks = self._checks + 1 if self._seen is self.cycle else 1
        self._seen = self.cycle
        waits = self.cycle is None or self.cycle.response_complete
        if self._checks > REQUEST_CHECKS or (waits and (self.cycle is None or self._checks > 1)):
            self._end()
        else:
            self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._check)

    def _end(self) -> None:
        self._forget()
        self.transport.abort()

    def _forget(self) -> None:
        self._open.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()


LIMITS: dict[str, Any] = {
    "http": BoundedProtocol,
    "h11_max_incomplete_event_size": HEAD_MAX,
    "access_log": False,
    "server_header": False,
}
"""The settings of every uvicorn server of Regcred. They also turn off the access log and the ``Server``
header."""
