"""Plain HTTP to vendors and registries: one deadline for each call, no redirects, no raw body in an error.

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
    limited,
    objects,
    pages,
    passing,
    retry_after,
    server_time,
    text_field,
)
from regcred.registry.authorization import Basic, Bearer
from regcred.registry.definition import LOCAL_HOSTS

if TYPE_CHECKING:
    from requests import PreparedRequest, Request, Response, Session

__all__ = [  # what a provider needs to call its vendor and to read the answer
    "Answer",
    "Basic",
    "Bearer",
    "expect",
    "identified",
    "limited",
    "objects",
    "origin",
    "pages",
    "passing",
    "retry_after",
    "send",
    "send_signed",
    "server_time",
    "session",
    "text_field",
]

CONNECT_SECONDS = 5.0
"""How long a connection may take; the whole call has a deadline besides, see :mod:`regcred.registry.limits`."""

READ_SECONDS = limits.WAIT_SECONDS
"""How long the next bytes of an answer may take."""

IDLE_SECONDS = 60.0
"""How long a connection may be idle and still be used."""

BODY_MAX = 1024 * 1024
"""The most that is read of an answer, in bytes; vendors' answers have a few kB."""


def origin(host: str) -> str:
    """``https://host``; ``http://`` only for this machine, as container runtimes do. A path after the host stays."""
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
    """One request; redirects are not followed, so that a credential goes to the named host and no other.

    Args:
        method: The HTTP method.
        url: ``https://…``; ``http://`` only for this machine.
        auth: What to send as Authorization; None: nothing, whatever a netrc file says.
        headers: More headers.
        query: Parameters for the URL.
        form: A form to send.
        document: A JSON document to send.
        text: A plain text to send.

    Returns:
        Any answer, whatever its status.

    Raises:
        TransientError: No whole answer; the text says why: no name, no connection, what is wrong with TLS or the certificate,
            a deadline.
        MalformedError: The URL would send a secret in the clear, a secret is none that a header can carry, or the answer is
            larger than any of a registry.
    """
    import requests

    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS):
        raise MalformedError(
            f"{parts.scheme}://{parts.netloc} is not https; registries and vendors are called over TLS"
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
    """One request that was signed as it is, for an SDK; redirects are not followed.

    Args:
        method: The HTTP method.
        url: Where the SDK sends it.
        headers: All headers, the signature among them.
        body: What was signed.
        ca_bundle: A file of certificates to trust instead of the ones that all other calls trust.

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
    except ValueError:  # http.client's own, whose text repeats the value
        raise _unsendable(host) from None


def _sent(request: Request, verify: str | None) -> Response:
    kept = session()
    prepared = kept.prepare_request(request)
    settings = kept.merge_environment_settings(prepared.url, {}, True, verify, None)
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    return kept.send(prepared, timeout=timeout, allow_redirects=False, **settings)


def _body(response: Response) -> bytes:
    """The body as it was before its encoding for the way, cut at :data:`BODY_MAX`."""
    from urllib3 import HTTPResponse

    sent = bytearray()
    # Whatever has come, and not decoded yet: a decoder goes on reading by itself until it has something to give.
    while part := response.raw.read1(BODY_MAX - len(sent), decode_content=False):
        sent += part
    encoding = {"Content-Encoding": response.headers.get("Content-Encoding", "")}
    encoded = HTTPResponse(BytesIO(sent), headers=encoding, preload_content=False)
    return encoded.read(BODY_MAX, decode_content=True)


def _unsendable(host: str) -> MalformedError:
    return MalformedError(
        f"{host}: the credential contains a newline, or a character that a header can't carry; "
        "write the upstream secret again"
    )


def session() -> Session:
    """One session for all: reading a bundle of certificates takes longer than a request, and connections are kept.

    It keeps no cookies. Connections that were idle for long are closed first: whatever lies between may have forgotten
    them without a word while a Lambda slept.
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
"""The session, once there is one."""

_KEPT_LOCK = Lock()


def _new_session() -> Session:
    from http.cookiejar import DefaultCookiePolicy

    import requests

    from regcred.registry.adapter import BoundedAdapter

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
