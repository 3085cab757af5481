"""Reads a vendor's or registry's response: its fields, its error code, and when to retry. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from regcred.errors import MalformedError, MissingError, RefusedError, TransientError

PAGES_MAX = 100
"""The maximum number of pages of one list. For tokens, this is a hundred times what vendors allow."""

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
class Answer:
    """A server's response. The body may contain a secret, so ``repr`` leaves it out."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def fields(self, *, what: str) -> dict[str, Any]:
        """The body as a JSON object.

        Args:
            what: The server and the request, for the error text.

        Raises:
            MalformedError: The body is not a JSON object.
        """
        value = self._json()
        if not isinstance(value, dict):
            raise MalformedError(
                f"{what}: the response ({self.status}) is not a JSON object; check the address"
            )
        return value

    def items(self, *, field: str, what: str) -> list[dict[str, Any]]:
        """The body as a JSON list of objects that each have an ``id``.

        Raises:
            MalformedError: The body is not such a list. The text names ``field`` as the kind of items.
        """
        return identified(self._json(), field=field, what=what)

    def mappings(self) -> list[dict[str, Any]]:
        """The objects in the body's JSON list; empty if the body is not a list."""
        value = self._json()
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    def code(self) -> str:
        """The vendor's short error code, if the body has one in a known field; never free text."""
        return next((code for code in _codes(self._json()) if _CODE.fullmatch(code)), "")

    def _json(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):  # RecursionError: the body is nested too deeply
            return None


def _codes(value: Any) -> list[str]:
    """Candidates in order: OAuth ``error``; ``code``; OCI ``errors[].code``; Google's ``error.status``."""
    if not isinstance(value, dict):
        return []
    errors = value.get("errors")
    nested = [value.get("error"), *(errors if isinstance(errors, list) else [])]
    found = [value.get("error"), value.get("code"), value.get("Code"), value.get("__type")]
    found += [
        item.get(key) for item in nested if isinstance(item, dict) for key in ("status", "code", "Code")
    ]
    return [item for item in found if isinstance(item, str)]


def expect(answer: Answer, *, what: str, remedy: str, ok: Sequence[int] = (200,)) -> Answer:
    """Return the response if its status is one of ``ok``.

    Args:
        answer: The response from :func:`send`.
        what: The server and the request, for the error text ("harbor.example.com: creating a robot").
        remedy: What to do if the server refuses.
        ok: The statuses of success.

    Raises:
        TransientError: 408, 425, 429 or 5xx, or another status that reports a rate limit.
        MissingError: 404 or 410.
        MalformedError: An unexpected success status, probably of a proxy's page.
        RefusedError: Any other status. The text has the vendor's short code, never its body.
    """
    if answer.status in ok:
        return answer
    code = answer.code()
    failure = f"{what} failed with {answer.status}" + (f" {code}" if code else "")
    if answer.status in {408, 425} or is_transient_status(answer.status) or is_rate_limited(answer):
        raise TransientError(f"{failure}; it will be retried", retry_after=retry_after(answer))
    if answer.status in {404, 410}:
        raise MissingError(f"{failure}; {remedy}")
    if answer.status < HTTPStatus.MULTIPLE_CHOICES:  # a success, but not one of the contract
        raise MalformedError(
            f"{failure}, which the vendor's API does not define; check the address and the proxy"
        )
    raise RefusedError(f"{failure}; {remedy}")


def pages(what: str) -> Iterator[int]:
    """Yield the numbers of a list's pages, from 1.

    Every page is requested by number at the address of the first one.

    Args:
        what: The server and the request, for the error text ("Docker Hub: listing tokens").

    Raises:
        MalformedError: The list has more than :data:`PAGES_MAX` pages.
    """
    yield from range(1, PAGES_MAX + 1)
    raise MalformedError(
        f"{what}: the list has more than {PAGES_MAX} pages; check the address and the vendor's version"
    )


def is_transient_status(status: int) -> bool:
    """Whether a request with this status may succeed later: 429 or 5xx."""
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def is_rate_limited(answer: Answer) -> bool:
    """Whether a response reports a rate limit, whatever its status.

    The OCI distribution specification has a code for it. GitHub sends a 403 with one of two headers
    (https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api). Alibaba Cloud sends a 400
    with a code that begins with ``Throttling``. Google sends the status RESOURCE_EXHAUSTED.
    """
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    if answer.status == HTTPStatus.FORBIDDEN and (
        answer.headers.get("X-RateLimit-Remaining") == "0" or "Retry-After" in answer.headers
    ):
        return True
    return answer.status >= HTTPStatus.BAD_REQUEST and answer.code().upper().startswith(_LIMITS)


def retry_after(answer: Answer) -> timedelta | None:
    """How long the server asks clients to wait, by the server's clock; None if it does not say.

    A server gives seconds or a date (RFC 9110, section 10.2.3), or the end of its rate limit in seconds since
    1970 (https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api).
    """
    header = answer.headers.get("Retry-After", "")
    if _SECONDS.fullmatch(header):
        return timedelta(seconds=int(header))
    now, until = server_time(answer), _date(header) or _limit_ends(answer)
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
    """The server's time in a response (RFC 9110, section 6.6.1), for signatures if our clock is wrong."""
    return _date(answer.headers.get("Date", ""))


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text[:_DATE_MAX])
    except (ValueError, OverflowError):  # OverflowError: a year or a zone with many digits
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def text_field(fields: Mapping[str, Any], *names: str, what: str) -> str:
    """The first of these fields that is a non-empty string.

    Raises:
        MalformedError: None of them is. The text names the first.
    """
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value:
            return value
    raise MalformedError(
        f"{what}: the response has no {names[0]!r}; check the address and the vendor's version",
        field=names[0],
    )


def objects(fields: Mapping[str, Any], name: str, *, what: str) -> list[dict[str, Any]]:
    """The objects in a list of the response. Each has an ``id``.

    Raises:
        MalformedError: It is not a list of such objects.
    """
    return identified(fields.get(name), field=name, what=what)


def identified(value: Any, *, field: str, what: str) -> list[dict[str, Any]]:
    """A list of objects that each have an ``id``.

    Raises:
        MalformedError: It is not such a list.
    """
    if isinstance(value, list) and all(isinstance(item, dict) and item.get("id") for item in value):
        return value
    raise MalformedError(f"{what}: the response has no list of {field!r}", field=field)
