"""The HTTP edge to HashiCorp Vault and OpenBao: one session that signs requests, tries again, and types every failure.

hvac shapes the requests, but has no retries, loses the headers of failures and puts answers into its error texts. So it is given
this session, which raises :mod:`regcred.errors` itself. Statuses:
https://developer.hashicorp.com/vault/api-docs#http-status-codes and https://openbao.org/api-docs/#http-status-codes
"""

from __future__ import annotations

import json
import random
import re
import ssl
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import hvac
import requests
from pydantic import SecretStr
from requests import codes
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from regcred.errors import ConflictError, MalformedError, RefusedError, RegcredError, TransientError

ATTEMPTS = 4
"""How often a request is sent at most when the failure may pass."""

FLOOR = 0.2
"""Shortest wait before the second attempt, in seconds, doubled each time; OpenBao's Retry-After may be 0."""

PATIENCE = 5.0
"""Longest wait for another attempt, in seconds; a server that asks for more is left to the caller."""

REPLICATION = 0.25
"""How long a conflict waits where a standby may have answered the read before it, in seconds."""

IDLE = 60.0
"""How long connections may be idle and still be used, in seconds: a check-and-set write over one that was forgotten is lost."""

INDEX_LIFE = 30.0
"""How long a state that we have seen is asked for of a standby, in seconds; replication takes milliseconds."""

THREADS = 32
"""How many connections are kept open, one per thread that asks at the same time."""

_MOVED = {codes.temporary_redirect, codes.permanent_redirect}
_INDEX = "X-Vault-Index"
_FORWARD = {"X-Vault-Inconsistent": "forward-active-node"}
_CONFLICT = "check-and-set parameter did not match"
_STARTING = (
    "Upgrading from non-versioned"  # a KV v2 mount, for a moment after it was made or the server started
)
# Not "exceed" alone: there is "deadline exceeded", too.
_TOO_LARGE = ("too large", "exceeds", "exceeded maximum", "exceeded the maximum")
_HOST = re.compile(r"[^\s.]+(\.[^\s.]+)*\.?")
_NAMESPACE = re.compile(r"[!-~]*")
_SECONDS = re.compile(r"[0-9]{1,9}")

_REASONS = {
    "could not be found": "the role does not exist there; apply the platform's declaration",
    "no known key successfully validated": "its signature fits none of the keys set there; were the keys rotated?",
    "token is expired": "it has expired; is the clock right?",
    "is not valid yet": "it is not valid yet; is the clock right?",
    "(aud)": "its audience is not the one that the role wants",
    "(sub)": "its subject is not the one that the role is bound to",
    'claim "sub"': "its subject is not one of those that the role is bound to",
    "(iss)": "its issuer is not the one set there",
    "permission denied": "there is no such sign-in method; apply the platform's declaration",
    "server id": "the server id header is missing or wrong",
}
"""What is said of a refused sign-in, by a word of the server's answer; the first that fits."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where Vault is, and how to reach it."""

    addr: str
    """``https://vault.example.com:8200``."""
    namespace: str = ""
    """Vault Enterprise and OpenBao namespaces."""
    ca_file: str = ""
    """A file of PEM certificates of a private authority; empty for the usual ones."""
    timeout: tuple[float, float] = (3.05, 10.0)
    """Seconds to connect, and between two bytes of the answer."""

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.addr)
            good = (
                url.scheme in {"http", "https"}
                and url.username is None
                and url.port != 0
                and _HOST.fullmatch(url.hostname or "")
            )
        except ValueError:  # brackets that are left open; a port that is no number, or too large
            good = False
        if not good:
            raise MalformedError(
                f"the address of Vault {self.addr.rpartition('@')[2][:80]!r} is not a URL; "
                "write https://host:port without user or password",
                field="addr",
            )
        if not _NAMESPACE.fullmatch(self.namespace):
            raise MalformedError(
                f"the namespace {self.namespace[:80]!r} holds what no namespace has; write it as in team/payments",
                field="namespace",
            )


class TokenSource(Protocol):
    """Who gives the session its token."""

    def token(self) -> SecretStr:
        """The token to send."""

    def refused(self, token: SecretStr) -> bool:
        """Learn that the server refused this token; answer whether another one may fare better."""


class VaultSession(requests.Session):
    """A session that carries the token and raises typed errors.

    404 answers of Vault itself are returned, since only the caller knows whether absence is an error.
    Raises what :class:`regcred.vault.interface.KeyValue` says, and ConflictError, MalformedError for writes.
    """

    def __init__(
        self,
        server: Server,
        tokens: TokenSource | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        attempts: int = ATTEMPTS,
    ) -> None:
        super().__init__()
        self.auth = _no_netrc
        self.mount("https://", HTTPAdapter(pool_maxsize=THREADS))
        self.mount("http://", HTTPAdapter(pool_maxsize=THREADS))
        self._server = server
        self._tokens = tokens
        self._sleep = sleep
        self._clock = clock
        self._attempts = attempts
        self._lock = threading.Lock()
        self._used = clock()
        self._index = ("", 0.0)
        self._standbys = True  # until an answer without an index shows that there are none
        self._surroundings: dict[tuple[str, str], Mapping[str, Any]] = {}

    def request(  # type: ignore[override] # hvac passes all but these two by keyword
        self, method: str, url: str, headers: Mapping[str, str] | None = None, **kwargs: Any
    ) -> requests.Response:
        """Send a request, again where that may help, and return a good answer or a 404 of Vault's."""
        token = self._tokens.token() if self._tokens else None
        attempt, refused = 1, False
        while True:
            try:
                return self._send(method.upper(), url, self._headers(headers, token), kwargs)
            except _RefusedTokenError as error:
                if refused or not (token and self._tokens and self._tokens.refused(token)):
                    raise RefusedError(str(error)) from None
                token, refused = self._tokens.token(), True
            except TransientError as error:
                wait = _wait(attempt, error.retry_after)
                if attempt >= self._attempts or wait > PATIENCE or not _repeatable(error, kwargs):
                    raise
                self._sleep(wait)
                attempt += 1

    def merge_environment_settings(  # type: ignore[override] # the stubs name more types than hvac sends
        self, url: str, *given: Any
    ) -> dict[str, Any]:
        """The proxy and the authorities for a server, looked up once: requests asks the environment at every request."""
        parts = urlsplit(url)
        server = (parts.scheme, parts.netloc)
        if server not in self._surroundings:
            self._surroundings[server] = super().merge_environment_settings(url, *given)
        return dict(self._surroundings[server])

    def _headers(self, given: Mapping[str, str] | None, token: SecretStr | None) -> dict[str, str]:
        headers = dict(given or {})
        if token:
            headers["X-Vault-Token"] = token.get_secret_value()
        if index := self._seen():
            # On writes too: a standby of OpenBao compares a check-and-set with its own, older state before it forwards.
            headers[_INDEX] = index
        return headers

    def _send(
        self, method: str, url: str, headers: dict[str, str], kwargs: Mapping[str, Any]
    ) -> requests.Response:
        where = f"Vault: {method} {urlsplit(url).path}"
        response = self._transport(method, url, headers, kwargs, where)
        if response.status_code in _MOVED and "Location" in response.headers:
            response = self._transport(method, self._leader(url, response, where), headers, kwargs, where)
        if response.status_code == codes.too_many_requests and _INDEX in headers and _errors(response) == []:
            # A standby of OpenBao has not yet seen what we have; HashiCorp Vault never gets here, it knows no such header.
            response = self._transport(method, url, headers | _FORWARD, kwargs, where)
        if response.status_code == codes.bad_request and _INDEX in _text(response):
            # The server was restored or replaced: the index is of another life of it.
            self._index = ("", 0.0)
            del headers[_INDEX]
            response = self._transport(method, url, headers, kwargs, where)
        if error := failure(response, where):
            if isinstance(error, ConflictError) and self._standbys:
                self._sleep(REPLICATION)
            raise error
        self._remember(response.headers.get(_INDEX, ""))
        return response

    def _remember(self, index: str) -> None:
        """Keep the newest state that an answer has shown: later answers, also of other nodes, must not be older."""
        with self._lock:
            self._standbys = bool(index)
            if index and _position(index) >= _position(self._seen()):
                self._index = (index, self._clock())

    def _seen(self) -> str:
        index, at = self._index
        return index if self._clock() - at < INDEX_LIFE else ""

    def _transport(
        self, method: str, url: str, headers: Mapping[str, str], kwargs: Mapping[str, Any], where: str
    ) -> requests.Response:
        self._close_idle()
        try:
            return super().request(method, url, headers=dict(headers), **kwargs)
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in repr(error):
                raise TransientError(f"{where}: the TLS connection to {self._server.addr} failed") from None
            raise RefusedError(
                f"{where}: the certificate of {self._server.addr} is not trusted; set the CA file of its authority"
            ) from None
        except (requests.ConnectTimeout, requests.exceptions.ProxyError) as error:
            raise _NotSentError(
                f"{where}: {self._server.addr} can't be reached ({type(error).__name__})"
            ) from None
        except requests.Timeout:
            raise TransientError(f"{where}: {self._server.addr} did not answer in time") from None
        except requests.ConnectionError as error:
            # Only a connection that could not be made proves that nothing was sent.
            reason = getattr(error.args[0] if error.args else None, "reason", None)
            kind = _NotSentError if isinstance(reason, NewConnectionError) else TransientError
            raise kind(f"{where}: the connection to {self._server.addr} failed") from None
        except requests.RequestException as error:
            raise TransientError(f"{where}: no usable answer ({type(error).__name__})") from None

    def _close_idle(self) -> None:
        """Close connections that a Lambda has slept over: whatever lies between may have forgotten them without a word."""
        with self._lock:
            now = self._clock()
            if now - self._used >= IDLE:
                self.close()
            self._used = now

    def _leader(self, url: str, response: requests.Response, where: str) -> str:
        target = urljoin(url, response.headers["Location"])
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
            raise RefusedError(
                f"{where}: the server sends on to an address without TLS; that would show the token, so it is not followed"
            )
        return target


class _NotSentError(TransientError):
    """The request has not been acted on for sure: any may be repeated."""


class _RefusedTokenError(RefusedError):
    """403: a bad token and a missing permission look the same."""


def failure(response: requests.Response, where: str) -> RegcredError | None:  # noqa: PLR0911 - one per kind
    """What went wrong, by status and the known words of Vault and OpenBao; None for a good answer and a plain 404.

    Args:
        response: The answer. Its body is looked at and never repeated.
        where: Beginning of the error text: which request it was.
    """
    status, errors = response.status_code, _errors(response)
    if status < codes.bad_request:
        return None if _is_answer(response) else TransientError(f"{where}: {_STRANGE}")
    if status == codes.not_found:
        return _not_found(response, where)
    if status in _UNREADY and errors is not None:
        return _NotSentError(f"{where}: {_UNREADY[status]}", retry_after=_retry_after(response))
    if where.endswith("/login") and status in {codes.bad_request, codes.forbidden}:
        return RefusedError(f"{where}: the sign-in was refused{_reason(_text(response))}")
    if error := _bad_write(response, where):
        return error
    if status >= codes.internal_server_error or status in _UNREADY:
        return TransientError(
            f"{where}: the server failed (status {status})", retry_after=_retry_after(response)
        )
    if status in {codes.unauthorized, codes.forbidden}:
        return _RefusedTokenError(
            f"{where}: permission denied: the token is not valid (any more), or its policy does not allow this"
        )
    return RefusedError(f"{where}: this server does not know the request (status {status})")


def _not_found(response: requests.Response, where: str) -> RegcredError | None:
    errors = _errors(response)
    if errors == [] or _is_answer(response):
        return None
    if errors:
        return RefusedError(
            f"{where}: there is no such mount or namespace; check both, or apply the platform's declaration"
        )
    return TransientError(f"{where}: {_STRANGE}")


def _bad_write(response: requests.Response, where: str) -> RegcredError | None:
    text, status = _text(response), response.status_code
    if status == codes.bad_request and _STARTING in text:
        return _NotSentError(f"{where}: the mount is starting")
    if status == codes.bad_request and _CONFLICT in text:
        return ConflictError(f"{where}: somebody else wrote first; read it again and decide again")
    refused = status in {codes.bad_request, codes.internal_server_error} and any(
        word in text for word in _TOO_LARGE
    )
    if refused or status == codes.request_entity_too_large:
        return MalformedError(f"{where}: the document is too large for the server; nothing was written")
    if status == codes.bad_request:
        return MalformedError(f"{where}: the server can't understand the request (status 400)")
    return None


_STRANGE = "the answer is not one of Vault's; is something else at this address, or a proxy in between?"
_UNREADY = {
    412: "this node has not seen the last write yet",
    429: "too many requests, or a standby that does not serve",
    472: "a disaster-recovery standby answered; point the address at the active cluster",
    473: "a performance standby answered that does not serve",
    501: "the server is not initialised",
    503: "the server is sealed or in maintenance",
}


def _position(index: str) -> int:
    """The place of a state in the log: ``base64({"cluster": …, "value": "37"})`` on OpenBao; -1 if it can't be told."""
    try:
        return int(json.loads(b64decode(index))["value"])
    except (KeyError, TypeError, ValueError):
        return -1


def _repeatable(error: TransientError, kwargs: Mapping[str, Any]) -> bool:
    """Whether a second attempt can't do harm: only a check-and-set write that may have been applied is not repeated."""
    body = kwargs.get("json") or {}
    return isinstance(error, _NotSentError) or "cas" not in body.get("options", {})


def _wait(attempt: int, asked: timedelta | None) -> float:
    """Seconds before the next attempt: what was asked for, but no less than our own back-off, and spread."""
    floor: float = FLOOR * 2 ** (attempt - 1)
    return max(floor, asked.total_seconds() if asked else 0.0) * random.uniform(1.0, 1.5)  # noqa: S311 - no secret


def _retry_after(response: requests.Response) -> timedelta | None:
    seconds = response.headers.get("Retry-After", "")
    return timedelta(seconds=int(seconds)) if _SECONDS.fullmatch(seconds) else None


def _reason(text: str) -> str:
    return next((f": {words}" for word, words in _REASONS.items() if word in text), "")


def _json(response: requests.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _errors(response: requests.Response) -> list[str] | None:
    """The server's own error texts; None if the answer has none, so that something else than Vault gave it."""
    errors = (_json(response) or {}).get("errors")
    return [str(error) for error in errors] if isinstance(errors, list) else None


def _text(response: requests.Response) -> str:
    return "" if response.ok else " ".join(_errors(response) or ())


def _is_answer(response: requests.Response) -> bool:
    if response.status_code == codes.no_content:
        return True
    body = _json(response)
    return body is not None and ("request_id" in body or "data" in body or "auth" in body)


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from sending a password of ~/.netrc to Vault."""
    return request


def client(server: Server, session: VaultSession) -> hvac.Client:
    """Make an hvac client over our session; it reads nothing from the environment.

    Raises:
        MalformedError: the CA file can't be read, or holds no certificate.
    """
    session.verify = _authority(server.ca_file)
    return hvac.Client(
        url=server.addr.rstrip("/"),
        token="",
        verify=session.verify,
        timeout=server.timeout,
        allow_redirects=False,
        session=session,
        namespace=server.namespace or None,
        strict_http=True,
    )


def _authority(ca_file: str) -> str | bool:
    if not ca_file:
        return True
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except OSError as error:
        raise MalformedError(
            f"the CA file {ca_file} can't be used ({type(error).__name__}); it must hold PEM certificates",
            field="ca_file",
        ) from None
    return ca_file
