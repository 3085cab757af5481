"""Signing in with a signed GetCallerIdentity request, against a stand-in that checks it as Vault and STS do."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime

import pytest
from fakes.vault_iam import Caller, VaultIam
from pydantic import SecretStr

from regcred.errors import RefusedError
from regcred.vault.http import Server, VaultSession, client
from regcred.vault.login import AwsIamLogin, AwsKeys, Token

ROLE = "arn:aws:iam::123456789012:role/regcred-rotate"
CALLER = Caller("ASIAEXAMPLEROTATE", "rotate-secret-key", "rotate-session-token", ROLE)
KEYS = AwsKeys(CALLER.access_key_id, SecretStr(CALLER.secret_access_key), SecretStr(CALLER.session_token))


def sign_in(vault: VaultIam, **changes: object) -> Token:
    server = Server("https://vault.example.com")
    session = VaultSession(server)
    session.mount("https://", vault)
    given = {
        "mount": "regcred-lambda-iam",
        "role": "rotate",
        "keys": lambda: KEYS,
        "server_id": "vault.example.com",
    }
    return AwsIamLogin(**{**given, **changes}).login(client(server, session), datetime.now(UTC))


@pytest.fixture
def vault() -> VaultIam:
    return VaultIam(
        [CALLER], {"rotate": ROLE, "dispatch": ROLE.replace("rotate", "dispatch")}, "vault.example.com"
    )


def test_a_function_signs_in_by_its_role_and_its_keys_stay_here(vault: VaultIam) -> None:
    token = sign_in(vault)
    assert token.value.get_secret_value() == "hvb.rotate"
    assert token.expires_at is not None
    headers = b64decode(vault.bodies[0]["iam_request_headers"]).decode()
    assert CALLER.secret_access_key not in json.dumps(vault.bodies[0]) + headers


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "dispatch"},
        {"role": "none"},
        {"server_id": ""},
        {"server_id": "another.example.com"},
        {"keys": lambda: AwsKeys(CALLER.access_key_id, SecretStr("wrong"), KEYS.session_token)},
        {"keys": lambda: AwsKeys(CALLER.access_key_id, KEYS.secret_access_key)},
        {"keys": lambda: AwsKeys("ASIANOBODY", KEYS.secret_access_key, KEYS.session_token)},
        {"region": "eu-central-1"},
    ],
)
def test_who_is_not_the_role_or_signs_for_another_server_is_refused(
    vault: VaultIam, changes: dict[str, object]
) -> None:
    with pytest.raises(RefusedError, match="the sign-in was refused") as caught:
        sign_in(vault, **changes)
    assert CALLER.secret_access_key not in str(caught.value)
    assert CALLER.session_token not in str(caught.value)


def test_a_missing_server_id_is_told(vault: VaultIam) -> None:
    with pytest.raises(RefusedError, match="the server id header is missing or wrong"):
        sign_in(vault, server_id="")


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "sts.amazonaws.com"),
        ("eu-central-1", "sts.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_the_request_is_signed_for_the_regions_own_endpoint(vault: VaultIam, region: str, host: str) -> None:
    vault.sts_hosts = (host,)
    assert sign_in(vault, region=region).value.get_secret_value() == "hvb.rotate"
