"""What a vendor's or registry's answer says: its fields, its error code, and when to ask again. Pure."""

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
