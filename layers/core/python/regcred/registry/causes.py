"""Explains why a server could not be reached.

It reads the types and codes of exceptions, never their text.
"""

from __future__ import annotations

import errno
import http.client
import socket

from regcred.errors import MalformedError, RegcredError, TransientError
from regcred.registry.limits import HEAD_MAX, ResponseTooLargeError
from regcred.tls_causes import chain, tls_cause

_PRIVATE = "if its authority is private, name it in REQUESTS_CA_BUNDLE"

_NAME_UNKNOWN = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL}


def unreachable(host: str, error: BaseException, *, late: bool, seconds: float) -> RegcredError:
    """The error to raise for a call without a complete response.

    Args:
        host: The target of the call.
        error: The exception of `requests`, urllib3 or a socket.
        late: Whether the deadline of the whole call has passed.
        seconds: The length of that deadline.
    """
    if late:
        return TransientError(f"{host} did not send its whole answer in {seconds:.0f} seconds")
    causes = list(chain(error))
    if any(isinstance(item, ResponseTooLargeError) for item in causes) or _many_headers(causes):
        return MalformedError(
            f"{host} sent more headers ({HEAD_MAX // 1024} kB) or a larger answer than any registry does; "
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
    if said := tls_cause(causes, private=_PRIVATE):
        return said
    for item in causes:
        if isinstance(item, socket.gaierror):
            known = item.errno not in _NAME_UNKNOWN
            return (
                "can't be looked up now; it will be tried again"
                if known
                else "is not a known host name; check it"
            )
        if isinstance(item, TimeoutError):
            return "did not answer in time"
    return _plain(causes)


_PLAIN: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (ConnectionRefusedError, "refuses connections on this port; check the port, and that it runs"),
    (
        (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError),
        "can't be reached: the connection broke off",
    ),
    (http.client.IncompleteRead, "can't be reached: its answer broke off"),
    (http.client.BadStatusLine, "answers with something that is not HTTP; check the port"),
)


def _plain(causes: list[BaseException]) -> str:
    for item in causes:
        if said := next((text for kinds, text in _PLAIN if isinstance(item, kinds)), ""):
            return said
        if isinstance(item, OSError) and item.errno in _NO_WAY:
            return "can't be reached from here: there is no way to its network"
        if type(item).__name__ == "ProxyError":
            return "can't be reached: the proxy refused, or can't be reached itself; check HTTPS_PROXY"
    return f"can't be reached ({type(causes[0]).__name__})"
