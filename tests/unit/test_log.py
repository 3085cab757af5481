from __future__ import annotations

import io
import json
import logging
from base64 import b64encode

import pytest

from regcred.log import guard, redact

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
def test_what_is_no_secret_stays_readable(line: str) -> None:
    assert redact(line) == line


def test_a_guarded_logger_hides_what_exceptions_say() -> None:
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
