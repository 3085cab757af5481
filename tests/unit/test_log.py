"""Redaction of logs: secrets, control characters and long lines."""

from __future__ import annotations

import io
import json
import logging
import time
from base64 import b64encode

import pytest

from regcred.log import RedactingFormatter, guard, redact
from regcred.wiring import powertools
from regcred.wiring.sync.log_setup import JsonFormatter

SECRET = "gH7kQ2mZx9" * 3
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwYXltZW50cyJ9.c2lnbmF0dXJlX2lzX2hlcmU"
ECR = b64encode(b"x" * 1500).decode()


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (f"X-Vault-Token: hvs.{SECRET}", SECRET),
        (f"bearer is {JWT}", JWT),
        (f"Authorization: Basic {SECRET}", SECRET),
        (f"authorization: bearer {SECRET}", SECRET),
        (f"https://user:{SECRET}@registry.example.com/v2/", SECRET),
        (json.dumps({"username": "u", "password": SECRET}), SECRET),
        (json.dumps({"message": json.dumps({"auth": SECRET})}), SECRET),
        (json.dumps(json.dumps({"message": json.dumps({"access_token": SECRET})})), SECRET),
        (repr({"SecretAccessKey": SECRET}), SECRET),
        (f"grant_type=x&client_assertion={SECRET}&scope=y", SECRET),
        (f"the answer was {ECR}", ECR),
        (json.dumps({".dockerconfigjson": json.dumps({"auths": {"h": {"auth": SECRET}}})}), SECRET),
    ],
)
def test_secrets_are_hidden_by_form_and_by_name(line: str, secret: str) -> None:
    assert secret not in redact(line)


@pytest.mark.parametrize(
    "line",
    [
        "payments/ecr-prod: rotated to version 7, expires at 2026-11-24T12:00:00+00:00",
        "the role arn:aws:iam::123456789012:role/regcred/payments is not allowed sts:GetWebIdentityToken",
        "image registry.example.com:5000/team/app@sha256:" + "a" * 64,
        '{"level": "INFO", "token_type": "batch", "registry": "prod"}',
        "the token is expired; sign in again",
    ],
)
def test_text_without_a_secret_is_not_changed(line: str) -> None:
    assert redact(line) == line


def test_a_guarded_logger_redacts_the_text_of_exceptions() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("guarded")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(stream))
    guard(logger)
    guard(logger)
    try:
        raise ValueError(f"password={SECRET}")
    except ValueError:
        logger.exception("failed with %s", {"token": SECRET})
    assert SECRET not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


HOSTILE = {
    "backslashes": "\\" * 60_000,
    "quotes": '"' * 60_000,
    "fields without an end": '"token":"' * 7_000,
    "fields at ever other depths": "".join('"auth":' + "\\" * (n % 127) + "'" for n in range(900)),
    "spaces after a field": '"password"' + " " * 60_000,
    "beginnings of tokens": "-eyJaaaaaaaa" * 5_000,
    "beginnings of URLs": "://a:" * 12_000,
    "beginnings of headers": "Basic " + " " * 60_000,
    "beginnings of variables": "token=" * 10_000,
    "runs that are nearly long enough": ("a" * 119 + " ") * 500,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_redacting_a_hostile_line_takes_linear_time(text: str) -> None:
    """Each text takes about 0.1 s; in quadratic time, it would take from 6 s to minutes."""
    started = time.process_time()
    redact(text)
    assert time.process_time() - started < 2


def test_a_secret_in_a_truncated_line_is_hidden() -> None:
    assert SECRET[:20] not in redact(json.dumps({"password": SECRET * 3})[:60])
    assert SECRET[:20] not in redact(json.dumps({"error": json.dumps({"token": SECRET})[:30]}))


def test_a_secret_with_a_quote_in_it_is_hidden_whole() -> None:
    assert "second-half" not in redact(json.dumps({"password": 'first"second-half'}))


def test_a_long_line_is_truncated_before_it_is_redacted() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("cut")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(stream))
    guard(logger)
    logger.warning("x y" * 1_000_000)
    assert len(stream.getvalue()) < 70_000


def test_long_fields_leave_a_log_line_of_sync_valid_json() -> None:
    record = logging.LogRecord("regcred.sync", logging.WARNING, "", 0, "m" * 10**6, None, None)
    record.fields = {"problem": "\\" * 10**6, "held": ["x" * 10**5] * 1000, "number": 7}
    line = RedactingFormatter(JsonFormatter()).format(record)
    assert len(line) < 64 * 1024
    assert json.loads(line)["number"] == 7


@pytest.mark.parametrize("formatter", [powertools._Formatter(), JsonFormatter()], ids=["functions", "sync"])
def test_control_characters_in_a_log_line_are_escaped(
    formatter: logging.Formatter,
) -> None:
    foreign = "\x1b[2J\x9b31m\u202egnp\u200b\u3164\u2028é"
    record = logging.LogRecord("regcred.rotate", logging.WARNING, "", 0, f"no: {foreign}\n", None, None)
    line = formatter.format(record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == f"no: {foreign}\n"


def test_a_long_line_of_a_function_is_truncated_before_it_is_redacted() -> None:
    record = logging.LogRecord("regcred.rotate", logging.WARNING, "", 0, "x y" * 1_000_000, None, None)
    assert len(powertools._Formatter().format(record)) < 70_000
