"""The Secret that sync sends to the API server."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime

from pydantic import SecretStr

from regcred.cluster.dockerconfig import ownership_probe, secret_body
from regcred.registry_reference import Reference

REF = Reference("payments", "ecr-prod")
CONFIG = '{"auths":{"registry.example.com":{"auth":"QVdTOnMzY3JldA=="}}}'


def body(**how):
    given = {"version": 7, "expires_at": datetime(2026, 11, 25, tzinfo=UTC)} | how
    return secret_body(REF, SecretStr(CONFIG), **given)


def test_the_secret_contains_the_credential_as_stored_in_vault() -> None:
    manifest = json.loads(body().content)
    assert b64decode(manifest["data"][".dockerconfigjson"]).decode() == CONFIG
    assert manifest["type"] == "kubernetes.io/dockerconfigjson"
    assert manifest["metadata"]["name"] == "regcred.payments.ecr-prod"


def test_the_secret_names_its_reference_version_and_expiry() -> None:
    metadata = json.loads(body().content)["metadata"]
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "regcred"}
    assert metadata["annotations"]["regcred.dev/reference"] == "payments/ecr-prod"
    assert metadata["annotations"]["regcred.dev/version"] == "7"
    assert metadata["annotations"]["regcred.dev/expires-at"] == "2026-11-25T00:00:00+00:00"
    static = json.loads(body(expires_at=None).content)["metadata"]
    assert static["annotations"]["regcred.dev/expires-at"] == "never"


def test_equal_credentials_give_equal_bytes() -> None:
    assert body().content == body().content


def test_neither_repr_nor_str_shows_the_credential() -> None:
    assert "QVdT" not in f"{body()!r} {body()}"


def test_the_ownership_probe_looks_like_our_secrets_and_contains_no_credential() -> None:
    manifest = json.loads(ownership_probe(REF).content)
    assert manifest["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "regcred"}
    assert json.loads(b64decode(manifest["data"][".dockerconfigjson"])) == {"auths": {}}
