"""HTTP calls to vendors and registries: one deadline per call, no redirects, no raw body in an error.

`requests` reads HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE from the environment, so a proxy or a private
certificate authority needs no setting of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from regcred.errors import MalformedError
from regcred.registry import causes, limits
from regcred.registry.answers import (
    Answer,
    expect,
    identified,
    is_rate_limited,
    is_transient_status,
    objects,
    pages,
    retry_after,
    server_time,
    text_field,
)
from regcred.registry.authorization import Basic, Bearer
from regcred.registry.definition import LOCAL_HOSTS

if TYPE_CHECKING:
    from requests import PreparedRequest, Request, Response, Session

__all__ = [  # what a provider needs to call its vendor and to read the response
    "Answer",
    "Basic",
    "Bearer",
    "expect",
    "identified",
    "is_rate_limited",
    "is_transient_status",
    "objects",
    "origin",
    "pages",
    "retry_after",
    "send",
    "send_signed",
    "server_time",
    "session",
    "text_field",
]

CONNECT_SECONDS = 5.0
"""How long a connection may take. The whole call also has a deadline; see :mod:`regcred.registry.limits`."""

READ_SECONDS = limits.WAIT_SECONDS
"""How long to wait for the next bytes of a response."""

IDLE_SECONDS = 60.0
"""How long an idle connection can still be used."""

BODY_MAX = 1024 * 1024
"""The maximum bytes of a response that are read. Vendors' responses have a few kB."""


def origin(host: str) -> str:
    """``https://host``, or ``http://`` for this machine only, as in container runtimes.

    A path after the host stays.
    """
    name = host.partition("/")[0].partition(":")[0]
    return f"{'http' if name in LOCAL_HOSTS else 'https'}://{host}"


def send(
    method: str,
    url: str,
    *,
    auth: Basic | Bearer | None = None,
    headers: Mapping[str, str] | None = None,
    query: Sequence[tuple[str, str]] = (),
    form: Sequence[tuple[str, str]] | None = None,
    document: Any = None,
    text: SecretStr | None = None,
) -> Answer:
    """Send one request. Redirects are not followed, so a credential goes only to the named host.

    Args:
        method: The HTTP method.
        url: ``https://…``, or ``http://`` for this machine only.
        auth: The login for the Authorization header. None sends none, even if a netrc file has an entry.
        headers: Additional headers.
        query: Parameters for the URL.
        form: A form to send.
        document: A JSON document to send as the body.
        text: A plain text to send as the body.

    Returns:
        The response, whatever its status.

    Raises:
        TransientError: No complete response. The text has the cause: name, connection, TLS, certificate or
            deadline.
        MalformedError: The URL would send a secret unencrypted, a header can't contain the secret, or the
            response is too large.
    """
    import requests

    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS):
        raise MalformedError(
            f"{parts.scheme}://{parts.netloc} is not https; registries and vendors are called only over TLS"
        )
    return _exchanged(
        parts.netloc,
        requests.Request(
            method,
            url,
            params=list(query) or None,
            headers={"User-Agent": "regcred", "Accept": "application/json", **(headers or {})},
            data=text.get_secret_value().encode() if text else list(form or ()) or None,
            json=document,
            auth=_authorize(auth),
        ),
    )


def send_signed(
    method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, ca_bundle: str = ""
) -> Answer:
    """Send one request exactly as an SDK has signed it. Redirects are not followed.

    Args:
        method: The HTTP method.
        url: The SDK's target.
        headers: All headers, including the signature.
        body: The signed body.
        ca_bundle: A file of certificates to trust for this call, instead of the usual ones.

    Raises:
        TransientError, MalformedError: See :func:`send`.
    """
    import requests

    request = requests.Request(method, url, headers=dict(headers), data=body, auth=_authorize(None))
    return _exchanged(urlsplit(url).netloc, request, verify=ca_bundle or None)


def _exchanged(host: str, request: Request, *, verify: str | None = None) -> Answer:
    import requests
    import urllib3.exceptions

    try:
        with limits.one_call() as budget, _sent(request, verify) as response:
            body = _body(response) if request.method != "HEAD" else b""
            return Answer(response.status_code, response.headers, body)
    except requests.exceptions.InvalidHeader:
        raise _unsendable(host) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise causes.unreachable(host, error, late=not budget.seconds, seconds=budget.allowed) from None
    except ValueError:  # http.client raises it, and its text repeats the value
        raise _unsendable(host) from None


def _sent(request: Request, verify: str | None) -> Response:
    kept = session()
    prepared = kept.prepare_request(request)
    settings = kept.merge_environment_settings(prepared.url, {}, True, verify, None)
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    return kept.send(prepared, timeout=timeout, allow_redirects=False, **settings)


def _body(response: Response) -> bytes:
    """The body after its Content-Encoding is removed, cut at :data:`BODY_MAX`."""
    from urllib3 import HTTPResponse

    sent = bytearray()
    # Read the bytes as they arrive, without decoding. A decoder would read on until it can return something.
    while part := response.raw.read1(BODY_MAX - len(sent), decode_content=False):
        sent += part
    encoding = {"Content-Encoding": response.headers.get("Content-Encoding", "")}
    encoded = HTTPResponse(BytesIO(sent), headers=encoding, preload_content=False)
    return encoded.read(BODY_MAX, decode_content=True)


def _unsendable(host: str) -> MalformedError:
    return MalformedError(
        f"{host}: the credential contains a newline, or another character that is not allowed in a header; "
        "enter the upstream secret again"
    )


def session() -> Session:
    """The one session for all calls, so that connections are reused and certificates are read once.

    It keeps no cookies. After a long idle time it is replaced, because a firewall may have dropped its
    connections silently while a Lambda was frozen.
    """
    with _KEPT_LOCK:
        now = time.monotonic()
        if _kept and now - _kept[0].used > IDLE_SECONDS:
            _kept.pop().session.close()
        if not _kept:
            _kept.append(_Kept(_new_session()))
        _kept[0].used = now
        return _kept[0].session


@dataclass(slots=True)
class _Kept:
    session: Session
    used: float = 0.0


_kept: list[_Kept] = []
"""The session, if it has been created."""

_KEPT_LOCK = Lock()


def _new_session() -> Session:
    from http.cookiejar import DefaultCookiePolicy

    import requests

    from regcred.registry.requests_adapter import BoundedAdapter

    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("https://", "http://"):
        session.mount(scheme, BoundedAdapter(pool_maxsize=32))
    return session


def _authorize(auth: Basic | Bearer | None) -> Callable[[PreparedRequest], PreparedRequest]:
    def apply(request: PreparedRequest) -> PreparedRequest:
        if auth is not None:
            request.headers["Authorization"] = auth.header()
        return request

    return apply
