"""Explains why a server could not be reached, from the types and codes of exceptions, never from their text.

Certificate codes: OpenSSL's X509_V_ERR_*. TLS failures: OpenSSL's SSL_R_*, as in :attr:`ssl.SSLError.reason`.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator

from regcred.errors import MalformedError, RegcredError, TransientError
from regcred.registry.limits import HEAD_MAX, ResponseTooLargeError

_CHAIN_MAX = 20
_PRIVATE = "if its authority is private, name it in REQUESTS_CA_BUNDLE"

_CERTIFICATE = {
    9: "shows a certificate that is not valid yet; check the clocks of both sides",
    10: "shows a certificate that has expired; renew it there",
    18: f"shows a self-signed certificate, which is not trusted here; {_PRIVATE}",
    19: f"shows a certificate of a self-signed authority that is not trusted here; {_PRIVATE}",
    20: f"shows a certificate whose authority is not trusted here; {_PRIVATE}, or let the server send the "
    "whole chain",
    21: f"shows a certificate whose authority is not trusted here; {_PRIVATE}, or let the server send the "
    "whole chain",
    23: "shows a certificate that was revoked; replace it there",
    62: "shows a certificate for another host name; check the name, or renew the certificate for it",
    64: "shows a certificate for another address; use the name that the certificate holds",
}

_NO_TLS = "does not speak TLS on this port (plain HTTP, most likely); check the port, or enable TLS there"
_OLD = "supports no safe version of TLS (1.2 or newer); enable one there"
_CIPHER = (
    "has no cipher in common with Regcred, or requires a client certificate; allow a current cipher there"
)
_CLIENT = "requires a client certificate, which Regcred can't present; use another port or host"

_TLS = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "HTTPS_PROXY_REQUEST": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _OLD,
    "VERSION_TOO_LOW": _OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _CIPHER,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _CIPHER,
    "DH_KEY_TOO_SMALL": _CIPHER,
    "EE_KEY_TOO_SMALL": _CIPHER,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _CLIENT,
    "TLSV1_UNRECOGNIZED_NAME": "does not know this host name; check it",
}

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
    chain = list(_chain(error))
    if any(isinstance(item, ResponseTooLargeError) for item in chain) or _many_headers(chain):
        return MalformedError(
            f"{host} sent more headers ({HEAD_MAX // 1024} kB) or a larger answer than any registry does; "
            "check the address and the proxy"
        )
    return TransientError(f"{host} {_reason(chain)}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """All wrapped exceptions of an exception, starting with the outermost."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(seen) < _CHAIN_MAX:
        item = waiting.pop(0)
        if not isinstance(item, BaseException) or any(item is other for other in seen):
            continue
        seen.append(item)
        yield item
        waiting += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]


def _many_headers(chain: list[BaseException]) -> bool:
    """Whether http.client found too many headers (raised as its base class) or one that is too long."""
    return any(
        type(item) is http.client.HTTPException or isinstance(item, http.client.LineTooLong) for item in chain
    )


def _reason(chain: list[BaseException]) -> str:
    for item in chain:
        if isinstance(item, ssl.SSLCertVerificationError):
            return _CERTIFICATE.get(
                item.verify_code,
                f"shows a certificate that can't be trusted (OpenSSL's code {item.verify_code})",
            )
        if isinstance(item, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return "closed the connection during the TLS handshake; check the port, and proxies on the way"
        if isinstance(item, ssl.SSLError):
            return _TLS.get(
                item.reason or "", f"can't be reached: TLS failed ({item.reason or type(item).__name__})"
            )
        if isinstance(item, socket.gaierror):
            known = item.errno not in _NAME_UNKNOWN
            return (
                "can't be looked up now; it will be tried again"
                if known
                else "is not a known host name; check it"
            )
        if isinstance(item, TimeoutError):
            return "did not answer in time"
    return _plain(chain)


_PLAIN: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (ConnectionRefusedError, "refuses connections on this port; check the port, and that it runs"),
    (
        (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError),
        "can't be reached: the connection broke off",
    ),
    (http.client.IncompleteRead, "can't be reached: its answer broke off"),
    (http.client.BadStatusLine, "answers with something that is not HTTP; check the port"),
)


def _plain(chain: list[BaseException]) -> str:
    for item in chain:
        if said := next((text for kinds, text in _PLAIN if isinstance(item, kinds)), ""):
            return said
        if isinstance(item, OSError) and item.errno in _NO_WAY:
            return "can't be reached from here: there is no way to its network"
        if type(item).__name__ == "ProxyError":
            return "can't be reached: the proxy refused, or can't be reached itself; check HTTPS_PROXY"
    return f"can't be reached ({type(chain[0]).__name__})"
