"""uvicorn's HTTP protocol with limits: the number of connections, and the time of each for a request.

uvicorn limits only how long a connection stays open after a response. One that sends nothing, or one byte at
a time, stays forever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 512
"""The maximum number of open connections. A newer one replaces the oldest."""

IDLE_SECONDS = 10.0
"""How long a connection may take to send the head of a request. It may take twice as long if a check has just
passed."""

REQUEST_CHECKS = 6
"""For how many checks, one each :data:`IDLE_SECONDS`, a request may last, with its body and the response."""

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
        """End the connection if it is still at the same request, or still without one."""
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
"""The settings of every uvicorn server of Regcred. It logs no requests, and does not say what it is."""
