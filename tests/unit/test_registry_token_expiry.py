"""The lifetime of a token as a vendor returns it, also if it is malformed, becomes a time or a one-line
error."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from regcred.errors import MalformedError
from regcred.registry import token_expiry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ODD = [None, True, "soon", 0, -5, 10**15, 10**400, float("inf"), float("nan"), [1], {}]


def jwt(payload: Any) -> SecretStr:
    body = urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return SecretStr(f"e30.{body}.x")


@pytest.mark.parametrize("value", ODD)
def test_an_error_about_an_invalid_expiry_names_the_field(value: Any) -> None:
    with pytest.raises(MalformedError) as caught:
        token_expiry.jwt_expiry(jwt({"exp": value}), what="the vendor")
    assert caught.value.field == "exp"
    for read in (
        lambda: token_expiry.after_seconds({"life": value}, "life", now=NOW, what="the vendor"),
        lambda: token_expiry.at_timestamp({"life": value}, "life", what="the vendor"),
        lambda: token_expiry.at_time({"life": value}, "life", what="the vendor"),
    ):
        with pytest.raises(MalformedError) as caught:
            read()
        assert caught.value.field == "life"


def test_valid_expiries_are_parsed() -> None:
    later = NOW + timedelta(hours=1)
    stamp = later.timestamp()
    assert token_expiry.jwt_expiry(jwt({"exp": stamp}), what="x") == later
    assert token_expiry.after_seconds({"life": 3600}, "life", now=NOW, what="x") == later
    assert token_expiry.at_timestamp({"life": stamp * 1000}, "life", what="x", unit=0.001) == later
    assert token_expiry.at_time({"life": "2026-01-01T01:00:00.000Z"}, "life", what="x") == later
    assert token_expiry.at_time({"life": "2026-01-01"}, "life", what="x") == NOW


@pytest.mark.parametrize("text", ["", "a.b", "a.%.c", "a.W10.c", f"a.{'W' * 100_000}.c", "a.b.c.d"])
def test_a_malformed_jwt_has_no_claims(text: str) -> None:
    assert token_expiry.claims(SecretStr(text)) is None


def test_a_deeply_nested_jwt_has_no_claims() -> None:
    body = urlsafe_b64encode(b"[" * 100_000).decode().rstrip("=")
    assert token_expiry.claims(SecretStr(f"a.{body}.c")) is None
