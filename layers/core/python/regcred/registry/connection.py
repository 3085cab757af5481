"""urllib3 connections that keep within the budget of the current call; see :mod:`regcred.registry.limits`.

The thread that makes a call also reads the response, so the sockets find the budget in the thread's context.
A reused connection uses the budget of its next call.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from regcred.registry import limits

if TYPE_CHECKING:
    from urllib3.response import HTTPResponse

    _Socket = socket.socket
else:
    _Socket = object

ADDRESSES_MAX = 8
"""The maximum number of addresses to try for one name."""


class _BoundedSocket(_Socket):
    """Shared code of sockets with and without TLS: no operation takes longer than the call may."""

    def _bound(self) -> None:
        budget = limits.current()
        if budget is None:
            return
        if not budget.seconds:
            raise TimeoutError("the time of the call is over")
        self.settimeout(min(limits.WAIT_SECONDS, budget.seconds))

    def recv(self, *args: Any, **more: Any) -> bytes:
        self._bound()
        found = super().recv(*args, **more)
        if budget := limits.current():
            budget.take(len(found))
        return found

    def recv_into(self, *args: Any, **more: Any) -> int:
        self._bound()
        count = super().recv_into(*args, **more)
        if budget := limits.current():
            budget.take(count)
        return count

    def send(self, *args: Any, **more: Any) -> int:
        self._bound()
        return super().send(*args, **more)

    def sendall(self, *args: Any, **more: Any) -> None:
        self._bound()
        super().sendall(*args, **more)


class PlainSocket(_BoundedSocket, socket.socket):
    """A socket without TLS, to this machine or to a proxy."""


class TlsSocket(_BoundedSocket, ssl.SSLSocket):
    """A socket with TLS. One handshake is one operation, however many packets it takes."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the base class's signature
        """See the base class."""
        self._bound()
        super().do_handshake(block)


class _Bound(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        """Connect to one of the name's addresses. Together they have the time limit of one."""
        try:
            return _connected(self._dns_host, self.port, self.timeout, self.socket_options or ())
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"{self.host} accepted no connection in time") from error
        except OSError as error:
            raise NewConnectionError(self, f"{self.host} accepted no connection") from error

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as in the base class
        """See the base class."""
        budget = limits.current()
        if budget is None:
            return super().getresponse()
        budget.in_head = True
        try:
            return super().getresponse()
        finally:
            budget.in_head = False


def _connected(host: str, port: Any, timeout: Any, options: Any) -> socket.socket:
    failed: OSError = OSError(f"{host} has no address")
    budget = limits.current()
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host.strip("[]"), port, socket.AF_UNSPEC, socket.SOCK_STREAM
    )[:ADDRESSES_MAX]:
        try:
            made = PlainSocket(family, kind, protocol)
        except OSError as error:  # an address family that this machine does not support
            failed = error
            continue
        try:
            for option in options:
                made.setsockopt(*option)
            left = budget.seconds if budget else timeout
            if left == 0:
                raise TimeoutError("the time of the call is over")
            made.settimeout(left if timeout is None else min(timeout, left or timeout))
            made.connect(address)
        except OSError as error:
            made.close()
            failed = error
            continue
        return made
    raise failed


class PlainConnection(_Bound, HTTPConnection):
    """A connection without TLS."""


class TlsConnection(_Bound, HTTPSConnection):
    """A connection with TLS."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = TlsConnection


POOLS = {"http": _PlainPool, "https": _TlsPool}
"""The classes of connection pools, for the attribute ``pool_classes_by_scheme`` of a urllib3 pool manager."""
