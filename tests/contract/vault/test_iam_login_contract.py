"""Sign-in with a signed GetCallerIdentity request, to a stand-in that checks it as Vault and STS do."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fakes.vault_iam import Caller, VaultIam
from pydantic import SecretStr

from regcred.errors import RefusedError, TransientError
from regcred.vault.http import Server, VaultSession, client
from regcred.vault.login import AwsIamLogin, AwsKeys, VaultToken

ROLE = "arn:aws:iam::123456789012:role/regcred-rotate"
ROLE_WITH_PATH = "arn:aws:iam::123456789012:role/functions/regcred-rotate"
CALLER = Caller("ASIAEXAMPLEROTATE", "rotate-secret-key", "rotate-session-token", ROLE)
KEYS = AwsKeys(CALLER.access_key_id, SecretStr(CALLER.secret_access_key), SecretStr(CALLER.session_token))


def sign_in(vault: VaultIam, **changes: object) -> VaultToken:
    server = Server("https://vault.example.com")
    session = VaultSession(server, sleep=lambda _: None)
    session.mount("https://", vault)
    fields = {
        "mount": "regcred-lambda-iam",
        "role": "rotate",
        "keys": lambda: KEYS,
        "server_id": "vault.example.com",
    }
    return AwsIamLogin(**{**fields, **changes}).login(client(server, session), datetime.now(UTC))


@pytest.fixture
def vault() -> VaultIam:
    return VaultIam(
        [CALLER], {"rotate": ROLE, "dispatch": ROLE.replace("rotate", "dispatch")}, "vault.example.com"
    )


@pytest.mark.parametrize("bound", [ROLE, ROLE_WITH_PATH])
def test_a_role_with_a_path_signs_in_only_as_the_arn_without_the_path(bound: str) -> None:
    caller = replace(CALLER, role_arn=ROLE_WITH_PATH)
    vault = VaultIam([caller], {"rotate": bound}, "vault.example.com")
    if bound == ROLE:
        assert sign_in(vault).value.get_secret_value() == "hvb.rotate"
    else:
        with pytest.raises(RefusedError, match="the role is not bound to this IAM role"):
            sign_in(vault)


def test_a_function_signs_in_by_its_role_and_does_not_send_its_secret_key(vault: VaultIam) -> None:
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
def test_a_caller_with_another_role_or_for_another_server_is_refused(
    vault: VaultIam, changes: dict[str, object]
) -> None:
    with pytest.raises(RefusedError, match="the sign-in was refused") as caught:
        sign_in(vault, **changes)
    assert CALLER.secret_access_key not in str(caught.value)
    assert CALLER.session_token not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"server_id": ""}, "the server id header is missing or wrong"),
        ({"server_id": "another.example.com"}, "the server id header is missing or wrong"),
        ({"role": "none"}, "the role does not exist there"),
        ({"role": "dispatch"}, "not bound to this IAM role, or .* to an earlier one of the same name"),
        ({"region": "eu-central-1"}, "AWS STS refused the signed request; .* the mount's sts_region"),
    ],
)
def test_the_error_contains_the_reason_of_the_refusal_and_a_remedy(
    vault: VaultIam, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RefusedError, match=message):
        sign_in(vault, **changes)


@pytest.mark.parametrize(
    "answer",
    [
        (0, "dial tcp: lookup sts.amazonaws.com: i/o timeout"),
        (400, "Throttling"),
        (400, "ThrottlingException"),
        (429, "TooManyRequests"),
        (500, "InternalFailure"),
        (503, "ServiceUnavailable"),
    ],
)
def test_an_outage_or_throttling_of_sts_is_a_transient_error(
    vault: VaultIam, answer: tuple[int, str]
) -> None:
    vault.sts_answer = answer
    with pytest.raises(TransientError, match="can't reach AWS STS"):
        sign_in(vault)


@pytest.mark.parametrize(
    "answer", [(403, "ExpiredToken"), (403, "InvalidClientTokenId"), (400, "IncompleteSignature")]
)
def test_a_signature_that_sts_refuses_is_a_refusal(vault: VaultIam, answer: tuple[int, str]) -> None:
    vault.sts_answer = answer
    with pytest.raises(RefusedError, match="AWS STS refused"):
        sign_in(vault)


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
    vault.sts_endpoint = f"https://{host}"
    assert sign_in(vault, region=region).value.get_secret_value() == "hvb.rotate"
