"""The HTTP client for HashiCorp Vault and OpenBao: one session with the token, retries and typed errors.

hvac builds the requests. But it does not retry, it drops the headers of failed responses, and it repeats
responses in its error texts. So it gets this session, which raises :mod:`regcred.errors` itself. Statuses:
https://developer.hashicorp.com/vault/api-docs#http-status-codes and
https://openbao.org/api-docs/#http-status-codes
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
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import hvac
import requests
from hvac.adapters import Adapter
from pydantic import SecretStr
from requests import codes
from urllib3.exceptions import NewConnectionError

from regcred.errors import ConflictError, MalformedError, RefusedError, TransientError
from regcred.tls_causes import bad_certificate, chain, tls_cause
from regcred.vault import error_responses
from regcred.vault.adapter import ANSWER_MAX, ANSWER_SECONDS, OverlongError, VaultAdapter, prepared
from regcred.vault.error_responses import NoLeaderError, NotSentError, RefusedTokenError

ATTEMPTS = 4
"""The maximum number of tries after transient failures."""

FLOOR = 0.2
"""The shortest back-off before the second try, in seconds. It doubles each time. OpenBao's Retry-After may be
0."""

ELECTION = 15.0
"""How long after the last success requests wait for a new leader, in seconds. A node that steps down pauses
for ten."""

ELECTION_ATTEMPTS = 12
"""The maximum number of tries during an election."""

BACKOFF_MAX = 2.0
"""The longest back-off before another try, in seconds."""

WAIT_MAX = 5.0
"""The longest wait before another try, in seconds. If a server requires more, the request fails."""

REPLICATION = 0.25
"""The wait after a conflict, in seconds, so that standbys catch up. The read before the write may have come
from a standby."""

IDLE = 60.0
"""After how many idle seconds connections are closed. A check-and-set write over a dropped connection is
lost."""

INDEX_LIFE = 30.0
"""How long requests carry the newest state that the client has seen, in seconds. Replication takes
milliseconds."""

HOPS = 4
"""The maximum number of nodes to which one request is sent because of redirects."""

THREADS = 32
"""How many connections stay open: one for each thread that sends at the same time."""

_PRIVATE = "if its authority is private, set the CA file of its authority"
_REDIRECTS = {codes.temporary_redirect, codes.permanent_redirect}
_INDEX = "X-Vault-Index"
_FORWARD = {"X-Vault-Inconsistent": "forward-active-node"}
_HOST = re.compile(r"[^\s.]+(\.[^\s.]+)*\.?")
_NAMESPACE = re.compile(r"[!-~]*")


@dataclass(frozen=True, slots=True)
class Server:
    """The address of Vault, and how to connect to it."""

    addr: str
    """The address, as in ``https://vault.example.com:8200``."""
    namespace: str = ""
    """The namespace (Vault Enterprise, OpenBao); empty for the root namespace."""
    ca_file: str = ""
    """A file with the PEM certificates of a private authority; empty for the default authorities."""
    timeout: tuple[float, float] = (3.05, 10.0)
    """The maximum seconds to connect, and between two bytes of the response."""

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.addr)
            good = (
                url.scheme in {"http", "https"}
                and url.username is None
                and url.port != 0
                and _HOST.fullmatch(url.hostname or "")
            )
        except ValueError:  # an unclosed bracket; a port that is not a number or is too large
            good = False
        if not good:
            raise MalformedError(
                f"the address of Vault {self.addr.rpartition('@')[2][:80]!r} is not a URL; "
                "write https://host:port without user or password",
                field="addr",
            )
        if not _NAMESPACE.fullmatch(self.namespace):
            raise MalformedError(
                f"the namespace {self.namespace[:80]!r} contains a character that no namespace has; write "
                "it as in team/payments",
                field="namespace",
            )


Around = Callable[[], AbstractContextManager[None]]
"""A context manager around a request with all its tries. The command line shows in it that it waits."""


class TokenSource(Protocol):
    """Gives the session its token."""

    def token(self) -> SecretStr:
        """The token to send."""

    def renew_refused(self, token: SecretStr) -> bool:
        """Record that the server refused this token. Return whether another token may work."""


class VaultSession(requests.Session):
    """A session that carries the token and raises typed errors.

    A 404 from Vault is returned, because only the caller knows whether absence is an error. Other failures
    raise the errors of :class:`regcred.vault.interface.KeyValue`; writes also raise ConflictError and
    MalformedError.
    """

    def __init__(
        self,
        server: Server,
        tokens: TokenSource | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        attempts: int = ATTEMPTS,
        around: Around = nullcontext,
    ) -> None:
        super().__init__()
        self._around = around
        # The size of compressed data is unknown until it is unpacked. Neither server compresses.
        self._defaults = {"User-Agent": "regcred", "Accept": "*/*", "Accept-Encoding": "identity"}
        self.mount("https://", VaultAdapter(pool_maxsize=THREADS))
        self.mount("http://", VaultAdapter(pool_maxsize=THREADS))
        self._server = server
        self._tokens = tokens
        self._sleep = sleep
        self._clock = clock
        self._attempts = attempts
        self._lock = threading.Lock()
        self._last_used = self._last_success = clock()
        self._index = ("", 0.0)
        self._may_have_standbys = True  # until a response without an index shows that there are none
        self._environment: dict[tuple[str, str], Mapping[str, Any]] = {}

    def request(  # type: ignore[override] # hvac passes all but these two by keyword
        self, method: str, url: str, headers: Mapping[str, str] | None = None, **kwargs: Any
    ) -> requests.Response:
        """Send a request, and retry it if that may help. Return a success or a 404 from Vault."""
        with self._around():
            return self._request(method, url, headers, kwargs)

    def _request(
        self, method: str, url: str, headers: Mapping[str, str] | None, kwargs: Mapping[str, Any]
    ) -> requests.Response:
        token = self._tokens.token() if self._tokens else None
        attempt, refused = 1, False
        while True:
            try:
                return self._send(method.upper(), url, self._headers(headers, token), kwargs)
            except RefusedTokenError as error:
                if refused or not (token and self._tokens and self._tokens.renew_refused(token)):
                    raise RefusedError(str(error)) from None
                token, refused = self._tokens.token(), True
            except TransientError as error:
                wait = _wait(attempt, error.retry_after)
                if (
                    attempt >= self._attempts_after(error, wait)
                    or wait > WAIT_MAX
                    or not _is_repeatable(error, kwargs)
                ):
                    raise
                self._sleep(wait)
                attempt += 1

    def _attempts_after(self, error: TransientError, wait: float) -> int:
        """The maximum number of tries: more during an election, unless it takes too long."""
        electing = isinstance(error, NoLeaderError) and self._clock() + wait < self._last_success + ELECTION
        return ELECTION_ATTEMPTS if electing and self._attempts == ATTEMPTS else self._attempts

    def _route(self, url: str) -> Mapping[str, Any]:
        """The proxy and certificates for a server. requests would read the environment at each request."""
        parts = urlsplit(url)
        server = (parts.scheme, parts.netloc)
        if server not in self._environment:
            self._environment[server] = self.merge_environment_settings(
                url, proxies={}, stream=True, verify=self.verify, cert=None
            )
        return self._environment[server]

    def _headers(self, extra: Mapping[str, str] | None, token: SecretStr | None) -> dict[str, str]:
        headers = dict(extra or {})
        if token:
            headers["X-Vault-Token"] = token.get_secret_value()
        if index := self._seen():
            # Writes need it too: a standby of OpenBao compares a check-and-set with its own, older state.
            headers[_INDEX] = index
        return headers

    def _send(
        self, method: str, url: str, headers: dict[str, str], kwargs: Mapping[str, Any]
    ) -> requests.Response:
        where = f"Vault: {method} {urlsplit(url).path}"
        response = self._follow(method, url, headers, kwargs, where)
        if (
            response.status_code == codes.too_many_requests
            and _INDEX in headers
            and error_responses.errors(response) == []
        ):
            # This standby of OpenBao lacks a state that the client has seen. HashiCorp Vault has no such
            # header.
            response = self._transport(method, url, headers | _FORWARD, kwargs, where)
        if response.status_code == codes.bad_request and _INDEX in error_responses.text(response):
            # The server was restored or replaced, so the index belongs to an earlier instance.
            self._index = ("", 0.0)
            del headers[_INDEX]
            response = self._transport(method, url, headers, kwargs, where)
        if error := error_responses.failure(response, where):
            if isinstance(error, ConflictError) and self._may_have_standbys:
                self._sleep(REPLICATION)
            raise error
        self._last_success = self._clock()
        self._remember(response.headers.get(_INDEX, ""))
        return response

    def _follow(
        self, method: str, url: str, headers: Mapping[str, str], kwargs: Mapping[str, Any], where: str
    ) -> requests.Response:
        """Send a request, and follow redirects of standbys to the leader, which may have stepped down.

        Raises:
            NotSentError: the last of :data:`HOPS` nodes redirects as well. A standby that redirects has not
                processed the request.
        """
        for _ in range(HOPS):
            response = self._transport(method, url, headers, kwargs, where)
            if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                return response
            url = self._redirect_target(url, response, where)
        raise NotSentError(f"{where}: the nodes redirect to each other; Vault is electing a new leader")

    def _remember(self, index: str) -> None:
        """Remember the state of a response if it is the newest. No later response may be older.

        That is also true of responses from other nodes.
        """
        with self._lock:
            self._may_have_standbys = bool(index)
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
            request = prepared(method, url, {**self._defaults, **headers}, kwargs)
            return self.get_adapter(url).send(request, timeout=kwargs.get("timeout"), **self._route(url))
        except requests.exceptions.SSLError as error:
            causes = list(chain(error))
            cause = tls_cause(causes, private=_PRIVATE) or "can't be reached: TLS failed"
            kind = RefusedError if bad_certificate(causes) else TransientError
            raise kind(f"{where}: {self._server.addr} {cause}") from None
        except (requests.ConnectTimeout, requests.exceptions.ProxyError) as error:
            raise NotSentError(
                f"{where}: {self._server.addr} can't be reached ({type(error).__name__})"
            ) from None
        except requests.Timeout:
            raise TransientError(f"{where}: {self._server.addr} did not answer in time") from None
        except requests.ConnectionError as error:
            # Only a connection that was never opened proves that nothing was sent.
            reason = getattr(error.args[0] if error.args else None, "reason", None)
            kind = NotSentError if isinstance(reason, NewConnectionError) else TransientError
            raise kind(f"{where}: the connection to {self._server.addr} failed") from None
        except OverlongError:
            raise TransientError(
                f"{where}: the answer is compressed, has more than {ANSWER_MAX >> 20} MiB or takes more than "
                f"{ANSWER_SECONDS:.0f} s; is something else at this address?"
            ) from None
        except requests.RequestException as error:
            raise TransientError(f"{where}: no usable answer ({type(error).__name__})") from None

    def _close_idle(self) -> None:
        """Close connections that were idle, as in a frozen Lambda. A firewall may have dropped them."""
        with self._lock:
            now = self._clock()
            if now - self._last_used >= IDLE:
                self.close()
            self._last_used = now

    def _redirect_target(self, url: str, response: requests.Response, where: str) -> str:
        target = urljoin(url, response.headers["Location"])
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
            raise RefusedError(
                f"{where}: the server redirects to an address without TLS; Regcred does not follow it, "
                "because that would expose the token"
            )
        return target


def _position(index: str) -> int:
    """The position of a state in the log; -1 if unknown.

    OpenBao writes a state as ``base64({"cluster": …, "value": "37"})``.
    """
    try:
        return int(json.loads(b64decode(index))["value"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return -1


def _is_repeatable(error: TransientError, kwargs: Mapping[str, Any]) -> bool:
    """Whether a retry is safe. It is not for a check-and-set write that may have been applied."""
    body = kwargs.get("json") or {}
    return isinstance(error, NotSentError) or "cas" not in body.get("options", {})


def _wait(attempt: int, retry_after: timedelta | None) -> float:
    """Seconds before the next try: the server's wait, but at least our back-off, lengthened at random."""
    floor: float = min(FLOOR * 2 ** (attempt - 1), BACKOFF_MAX)
    return max(floor, retry_after.total_seconds() if retry_after else 0.0) * random.uniform(1.0, 1.5)  # noqa: S311 - no secret


def client(server: Server, session: VaultSession) -> hvac.Client:
    """Create an hvac client over our session. It reads nothing from the environment.

    Raises:
        MalformedError: the CA file can't be read, or contains no certificate.
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


def without_namespace(vault: hvac.Client) -> Adapter:
    """An adapter for requests to the root namespace.

    It uses the same session and therefore the same token.
    """
    adapter = type(vault.adapter).from_adapter(vault.adapter)
    adapter.namespace = None
    return adapter


def _authority(ca_file: str) -> str | bool:
    if not ca_file:
        return True
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except OSError as error:
        raise MalformedError(
            f"the CA file {ca_file} can't be used ({type(error).__name__}); it must contain PEM certificates",
            field="ca_file",
        ) from None
    return ca_file
