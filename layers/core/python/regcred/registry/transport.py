"""Plain HTTP to vendors and registries: one deadline for each call, no redirects, no raw body in an error.

`requests` reads HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE from the environment, so a proxy or a private
certificate authority needs no setting of ours.
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from regcred.errors import MalformedError, MissingError, RefusedError, TransientError
from regcred.registry import causes, limits
from regcred.registry.definition import LOCAL_HOSTS

if TYPE_CHECKING:
    from requests import PreparedRequest, Request, Response, Session

CONNECT_SECONDS = 5.0
"""How long a connection may take; the whole call has a deadline besides, see :mod:`regcred.registry.limits`."""

READ_SECONDS = limits.WAIT_SECONDS
"""How long the next bytes of an answer may take."""

IDLE_SECONDS = 60.0
"""How long a connection may be idle and still be used."""

BODY_MAX = 1024 * 1024
"""The most that is read of an answer, in bytes; vendors' answers have a few kB."""

PAGES_MAX = 100
"""The most pages that are read of one list; of tokens that is a hundred times what vendors allow."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
_DATE_MAX = 100
_LIMITS = (
    "TOOMANYREQUESTS",
    "TOO_MANY_REQUESTS",
    "THROTTL",
    "RATE_LIMIT",
    "RATELIMIT",
    "RESOURCE_EXHAUSTED",
    "SLOW_DOWN",
)
_SECONDS = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Basic:
    """A user name and a password, sent as Basic authentication."""

    username: str = field(repr=False)  # at DigitalOcean it is the token itself
    password: SecretStr

    def header(self) -> str:
        """The value of the Authorization header."""
        text = f"{self.username}:{self.password.get_secret_value()}"
        return "Basic " + b64encode(text.encode()).decode()


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token; ``scheme`` is how the vendor calls it."""

    token: SecretStr
    scheme: str = "Bearer"

    def header(self) -> str:
        """The value of the Authorization header."""
        return f"{self.scheme} {self.token.get_secret_value()}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered. The body may hold a secret, so it is no part of ``repr``."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def fields(self, *, what: str) -> dict[str, Any]:
        """The body as a JSON object.

        Args:
            what: Whose answer it is, for the error text.

        Raises:
            MalformedError: It is none.
        """
        value = self._json()
        if not isinstance(value, dict):
            raise MalformedError(
                f"{what} answered {self.status} with something that is not a JSON object; check the address"
            )
        return value

    def items(self, *, field: str, what: str) -> list[dict[str, Any]]:
        """The body as a JSON list of objects that each have an ``id``.

        Raises:
            MalformedError: It is none; the text names ``field`` as what was listed.
        """
        return identified(self._json(), field=field, what=what)

    def mappings(self) -> list[dict[str, Any]]:
        """The objects of the body's JSON list; none if it is no list."""
        value = self._json()
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    def code(self) -> str:
        """The vendor's own short error code, if the body names one where vendors do; never free text."""
        return next((code for code in _codes(self._json()) if _CODE.fullmatch(code)), "")

    def _json(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):  # the latter where it is nested without end
            return None


def _codes(value: Any) -> list[str]:
    """Candidates, in order: OAuth ``error``; ``code``; the OCI ``errors[].code``; Google's ``error.status``."""
    if not isinstance(value, dict):
        return []
    errors = value.get("errors")
    nested = [value.get("error"), *(errors if isinstance(errors, list) else [])]
    found = [value.get("error"), value.get("code"), value.get("Code"), value.get("__type")]
    found += [
        item.get(key) for item in nested if isinstance(item, dict) for key in ("status", "code", "Code")
    ]
    return [item for item in found if isinstance(item, str)]


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


def expect(answer: Answer, *, what: str, remedy: str, ok: Sequence[int] = (200,)) -> Answer:
    """The answer, if its status is one of ``ok``.

    Args:
        answer: What :func:`send` returned.
        what: What was asked of whom, for the error text ("harbor.example.com: creating a robot").
        remedy: What to do if it was refused.
        ok: The statuses of success.

    Raises:
        TransientError: 408, 429 or 5xx, and what vendors say instead of 429.
        MissingError: 404 or 410.
        MalformedError: Another success than expected: a proxy's page, most likely.
        RefusedError: Any other; the text holds the vendor's short code, never its body.
    """
    if answer.status in ok:
        return answer
    code = answer.code()
    said = f"{what} was answered with {answer.status}" + (f" {code}" if code else "")
    if answer.status in {408, 425} or passing(answer.status) or limited(answer):
        raise TransientError(f"{said}; it will be tried again", retry_after=retry_after(answer))
    if answer.status in {404, 410}:
        raise MissingError(f"{said}; {remedy}")
    if answer.status < HTTPStatus.MULTIPLE_CHOICES:  # another success than the contract's is no success
        raise MalformedError(
            f"{said}, which is not what the vendor's contract says; check the address and the proxy"
        )
    raise RefusedError(f"{said}; {remedy}")


def pages(what: str) -> Iterator[int]:
    """The numbers of a list's pages, from 1. Pages are asked for by number, at the address that the first was asked of.

    Args:
        what: Who lists what, for the error text ("Docker Hub, listing tokens,").

    Raises:
        MalformedError: The list has not ended after :data:`PAGES_MAX`.
    """
    yield from range(1, PAGES_MAX + 1)
    raise MalformedError(
        f"{what} answered with {PAGES_MAX} pages and more to come; check the address and the vendor's version"
    )


def passing(status: int) -> bool:
    """Whether a status says that the same may work later: 429 or 5xx."""
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def limited(answer: Answer) -> bool:
    """Whether an answer is a limit of requests, whatever its status.

    The OCI distribution specification has a code for it; GitHub's is a 403 with one of two headers
    (https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api), Alibaba Cloud's a 400 with a code that
    begins with ``Throttling``, Google's the status RESOURCE_EXHAUSTED.
    """
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    if answer.status == HTTPStatus.FORBIDDEN and (
        answer.headers.get("X-RateLimit-Remaining") == "0" or "Retry-After" in answer.headers
    ):
        return True
    return answer.status >= HTTPStatus.BAD_REQUEST and answer.code().upper().startswith(_LIMITS)


def retry_after(answer: Answer) -> timedelta | None:
    """How long the server asked to be left alone, by its own clock; None if it did not say so.

    It says so in seconds or as a date (RFC 9110, section 10.2.3), or by when its limit of requests ends, in seconds since
    1970 (https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api).
    """
    asked = answer.headers.get("Retry-After", "")
    if _SECONDS.fullmatch(asked):
        return timedelta(seconds=int(asked))
    now, until = server_time(answer), _date(asked) or _limit_ends(answer)
    return until - now if now and until and until > now else None


def _limit_ends(answer: Answer) -> datetime | None:
    limited = answer.status in {HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
    reset = answer.headers.get("X-RateLimit-Reset", "")
    if (
        not limited
        or answer.headers.get("X-RateLimit-Remaining", "0") != "0"
        or not _SECONDS.fullmatch(reset)
    ):
        return None
    return datetime.fromtimestamp(int(reset), UTC)


def server_time(answer: Answer) -> datetime | None:
    """The vendor's own time of an answer (RFC 9110, section 6.6.1), to sign by where our clock is wrong."""
    return _date(answer.headers.get("Date", ""))


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text[:_DATE_MAX])
    except (ValueError, OverflowError):  # the latter for a year, or a zone, of many digits
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def text_field(fields: Mapping[str, Any], *names: str, what: str) -> str:
    """The first of these fields that holds a text.

    Raises:
        MalformedError: None does; the text names the first.
    """
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value:
            return value
    raise MalformedError(
        f"{what} answered without {names[0]!r}; check the address and the vendor's version", field=names[0]
    )


def objects(fields: Mapping[str, Any], name: str, *, what: str = "the vendor") -> list[dict[str, Any]]:
    """The objects of a list in an answer; each has an ``id``.

    Raises:
        MalformedError: It is no list of such objects.
    """
    return identified(fields.get(name), field=name, what=what)


def identified(value: Any, *, field: str, what: str) -> list[dict[str, Any]]:
    """A list of objects that each have an ``id``.

    Raises:
        MalformedError: It is none.
    """
    if isinstance(value, list) and all(isinstance(item, dict) and item.get("id") for item in value):
        return value
    raise MalformedError(f"{what} answered without a list of {field!r}", field=field)
