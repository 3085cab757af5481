"""Explains why a server could not be reached, by the types and codes of exceptions, never by their text."""

from __future__ import annotations

import errno
import http.client
import socket

from regcred.errors import MalformedError, RegcredError, TransientError
from regcred.registry.limits import HEAD_MAX, ResponseTooLargeError
from regcred.tls_causes import chain, tls_cause

_PRIVATE = "if its authority is private, name it in REQUESTS_CA_BUNDLE"

_NAME_UNKNOWN = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL}


def unreachable(host: str, error: BaseException, *, late: bool, seconds: float) -> RegcredError:
    """The typed error for a call without a complete response.

    Args:
        host: The server's host, for the error text.
        error: The exception of `requests`, urllib3 or a socket.
        late: Whether the deadline of the whole call has passed.
        seconds: The time that the call had in total.
    """
    if late:
        return TransientError(f"{host} did not send its whole response in {seconds:.0f} seconds")
    causes = list(chain(error))
    if any(isinstance(item, ResponseTooLargeError) for item in causes) or _many_headers(causes):
        return MalformedError(
            f"{host} sent more than {HEAD_MAX // 1024} kB of headers, or a response that is too large; "
            "check the address and the proxy"
        )
    return TransientError(f"{host} {_reason(causes)}")


def _many_headers(causes: list[BaseException]) -> bool:
    """Whether http.client found too many headers (raised as its base class) or one that is too long."""
    return any(
        type(item) is http.client.HTTPException or isinstance(item, http.client.LineTooLong)
        for item in causes
    )


def _reason(causes: list[BaseException]) -> str:
    if text := tls_cause(causes, private=_PRIVATE):
        return text
    for item in causes:
        if isinstance(item, socket.gaierror):
            if item.errno in _NAME_UNKNOWN:
                return "is not a known host name; check it"
            return "can't be looked up in DNS now; it will be retried"
        if isinstance(item, TimeoutError):
            return "did not respond in time"
    return _plain(causes)


_PLAIN: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (ConnectionRefusedError, "refuses connections on this port; check the port, and that the server runs"),
    (
        (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError),
        "can't be reached: the connection broke off",
    ),
    (http.client.IncompleteRead, "can't be reached: its response broke off"),
    (http.client.BadStatusLine, "does not respond with HTTP; check the port"),
)


def _plain(causes: list[BaseException]) -> str:
    for item in causes:
        if text := next((text for kinds, text in _PLAIN if isinstance(item, kinds)), ""):
            return text
        if isinstance(item, OSError) and item.errno in _NO_ROUTE:
            return "can't be reached from here: there is no route to its network"
        if type(item).__name__ == "ProxyError":
            return "can't be reached: the proxy refused, or can't be reached itself; check HTTPS_PROXY"
    return f"can't be reached ({type(causes[0]).__name__})"
