"""Explains TLS failures by the types and codes of exceptions, never by their text.

Certificate codes: OpenSSL's X509_V_ERR_*. TLS failures: OpenSSL's SSL_R_*, as in :attr:`ssl.SSLError.reason`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator

_CHAIN_MAX = 20

_CERTIFICATE = {
    9: "presents a certificate that is not valid yet; check the clocks of both sides",
    10: "presents a certificate that has expired; renew it there",
    18: "presents a self-signed certificate, which is not trusted here; {private}",
    19: "presents a certificate of a self-signed authority that is not trusted here; {private}",
    20: "presents a certificate whose authority is not trusted here; {private}, or let the server send the "
    "whole chain",
    21: "presents a certificate whose authority is not trusted here; {private}, or let the server send the "
    "whole chain",
    23: "presents a certificate that was revoked; replace it there",
    62: "presents a certificate for another host name; check the name, or renew the certificate for it",
    64: "presents a certificate for another address; use the name in the certificate",
}

_NO_TLS = "does not use TLS on this port (probably plain HTTP); check the port, or enable TLS there"
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


def tls_cause(causes: Iterable[BaseException], *, private: str) -> str:
    """The cause of a TLS failure, as the rest of a sentence that begins with the server's name.

    Empty if TLS did not fail.

    Args:
        causes: An exception and those that it wraps, see :func:`chain`.
        private: What to do if the certificate authority is private.
    """
    failed = ""
    for item in causes:
        if isinstance(item, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return "closed the connection during the TLS handshake; check the port, and proxies on the way"
        # aiohttp's errors are also of the types that they wrap, but have no codes.
        if isinstance(item, ssl.SSLCertVerificationError):
            if code := getattr(item, "verify_code", 0):
                unknown = f"presents a certificate that can't be trusted (OpenSSL's code {code})"
                return _CERTIFICATE.get(code, unknown).replace("{private}", private)
            failed = failed or "presents a certificate that can't be trusted"
        elif isinstance(item, ssl.SSLError):
            if reason := getattr(item, "reason", ""):
                return _TLS.get(reason, f"can't be reached: TLS failed ({reason})")
            failed = failed or f"can't be reached: TLS failed ({type(item).__name__})"
    return failed


def bad_certificate(causes: Iterable[BaseException]) -> bool:
    """Whether the certificate was refused. A retry does not help."""
    return any(isinstance(item, ssl.SSLCertVerificationError) for item in causes)


def chain(error: BaseException) -> Iterator[BaseException]:
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
