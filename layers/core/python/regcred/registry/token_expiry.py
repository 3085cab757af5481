"""Reads the expiry of vendors' tokens.

It checks no signatures, because the vendor itself sent the token over TLS.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from regcred.errors import MalformedError

_JWT_PARTS = 3


def claims(token: SecretStr) -> dict[str, Any] | None:
    """The payload of a JWT (RFC 7519), or None if the token is not a JWT."""
    parts = token.get_secret_value().split(".")
    if len(parts) != _JWT_PARTS:
        return None
    try:
        payload = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def jwt_expiry(token: SecretStr, *, what: str) -> datetime:
    """The ``exp`` of a JWT.

    Raises:
        MalformedError: It is not a JWT, or has no expiry.
    """
    try:
        return at_timestamp(claims(token) or {}, "exp", what=what)
    except MalformedError:
        raise MalformedError(f"{what}: the token has no expiry ('exp')", field="exp") from None


def after_seconds(fields: Mapping[str, Any], name: str, *, now: datetime, what: str) -> datetime:
    """The expiry from a field with the lifetime in seconds.

    Raises:
        MalformedError: The field is missing or not a positive number.
    """
    seconds = fields.get(name)
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
        with suppress(OverflowError):
            return now + timedelta(seconds=seconds)
    raise MalformedError(f"{what}: the response has no {name!r} in seconds", field=name)


def at_timestamp(fields: Mapping[str, Any], name: str, *, what: str, unit: float = 1.0) -> datetime:
    """The expiry from a field with a Unix timestamp.

    Args:
        fields: The response.
        name: The name of the field.
        what: The server and the request, for the error text.
        unit: Seconds per unit: 0.001 if the vendor counts milliseconds.

    Raises:
        MalformedError: The field is missing, not a number, or out of range.
    """
    value = fields.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(value * unit, UTC)
    raise MalformedError(f"{what}: the response has no {name!r} as a timestamp", field=name)


def at_time(fields: Mapping[str, Any], name: str, *, what: str) -> datetime:
    """The expiry from a field with an RFC 3339 time or a date.

    A date means its start in UTC, so the result is never too late.

    Raises:
        MalformedError: The field is missing, or is not a time or date.
    """
    value = fields.get(name)
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        raise MalformedError(f"{what}: the response has no {name!r} as a time", field=name) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
