"""Sign-in to real servers on which the declaration in ``infra/vault`` is applied."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from regcred.errors import MissingError, RefusedError
from regcred.vault.kv2 import connect
from regcred.vault.login import JwtLogin, TokenLogin, token_file

from . import identities
from .conftest import Keys, Real

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def test_a_cluster_signs_in_with_its_service_account_token(real: Real, keys: dict[str, Keys]) -> None:
    kv = identities.open_as(
        real, identities.cluster_login("c1", identities.service_account_token(keys["c1"]))
    )
    kv.read("platform/clusters/c1")
    with pytest.raises(RefusedError, match="permission denied"):
        kv.read("platform/clusters/c2")


def test_each_lambda_function_signs_in_only_by_its_own_role(real: Real, keys: dict[str, Keys]) -> None:
    token = identities.web_identity_token(keys["aws"], identities.ROTATE)
    kv = identities.open_as(real, identities.lambda_login("rotate", token))
    assert kv.version("upstream/payments/never") == 0
    with pytest.raises(RefusedError, match="its subject is not one of those"):
        identities.open_as(real, identities.lambda_login("dispatch", token)).list("registries")
    other = identities.web_identity_token(keys["aws"], identities.ROTATE, iss="https://other.example.com")
    with pytest.raises(RefusedError, match="issuer"):
        identities.open_as(real, identities.lambda_login("rotate", other)).version("upstream/payments/never")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aud": ["kubernetes"]}, "audience"),
        ({"sub": "system:serviceaccount:regcred-system:default"}, "subject"),
        ({"exp": NOW - HOUR, "iat": NOW - 2 * HOUR, "nbf": NOW - 2 * HOUR}, "expired"),
        ({"nbf": NOW + HOUR}, "not valid yet"),
        ({"iat": NOW + HOUR}, "issued in the future"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused_and_the_error_names_the_claim(
    real: Real, keys: dict[str, Keys], changes: dict[str, object], message: str
) -> None:
    token = identities.service_account_token(keys["c1"], **changes)
    with pytest.raises(RefusedError, match=message) as caught:
        identities.open_as(real, identities.cluster_login("c1", token)).version("platform/clusters/c1")
    assert token not in str(caught.value)


def test_one_cluster_cannot_pose_as_another(real: Real, keys: dict[str, Keys]) -> None:
    token = identities.service_account_token(keys["c1"])
    with pytest.raises(RefusedError, match="signature"):
        identities.open_as(real, identities.cluster_login("c2", token)).version("platform/clusters/c2")


def test_the_error_for_a_missing_role_names_the_cause(real: Real, keys: dict[str, Keys]) -> None:
    login = JwtLogin(
        "regcred-cluster-c1", "nobody", lambda: SecretStr(identities.service_account_token(keys["c1"]))
    )
    with pytest.raises(RefusedError, match="the role does not exist"):
        identities.open_as(real, login).version("platform/clusters/c1")


def test_a_missing_sign_in_method_is_refused(real: Real, keys: dict[str, Keys]) -> None:
    login = JwtLogin(
        "regcred-cluster-c9", "sync", lambda: SecretStr(identities.service_account_token(keys["c1"]))
    )
    with pytest.raises(RefusedError, match="no such sign-in method"):
        identities.open_as(real, login).version("platform/clusters/c9")


def test_the_projected_token_is_read_again_at_each_sign_in(
    real: Real, keys: dict[str, Keys], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    clock = [datetime(2026, 11, 24, 12, tzinfo=UTC)]
    kv = connect(
        real.server,
        JwtLogin("regcred-cluster-c1", "sync", token_file(file)),
        now=lambda: clock[0],
    )
    with pytest.raises(MissingError, match="can't be read"):
        kv.version("platform/clusters/c1")
    file.write_text(identities.service_account_token(keys["c1"]))
    kv.version("platform/clusters/c1")

    file.write_text("broken meanwhile")
    clock[0] += timedelta(minutes=16)
    kv.version("platform/clusters/c1")  # the old token still lives
    clock[0] += timedelta(minutes=16)
    with pytest.raises(RefusedError, match="the sign-in was refused"):
        kv.version("platform/clusters/c1")
    file.write_text(identities.service_account_token(keys["c1"]))
    kv.version("platform/clusters/c1")


def test_a_client_signs_in_again_when_its_token_is_no_longer_valid(real: Real) -> None:
    tokens = [identities.token_with(real, "regcred-platform-admin") for _ in range(2)]
    given = iter([*tokens, "hvs.none"])
    kv = connect(real.server, TokenLogin(lambda: SecretStr(next(given))))
    assert kv.version("platform/projects/none") == 0
    real.vault.call("POST", "auth/token/revoke", {"token": tokens[0]})
    assert kv.version("platform/projects/none") == 0
    with pytest.raises(RefusedError, match="permission denied"):
        kv.read("upstream/payments/r")


def test_an_invalid_token_differs_from_a_missing_permission_if_the_server_reports_it(real: Real) -> None:
    unsure = r"the token is not valid \(any more\), or its policy does not allow this$"
    certain = r"the token is not valid \(any more\)$"
    with pytest.raises(RefusedError, match=unsure):
        real.as_token(identities.token_with(real, "regcred-platform-admin")).read("upstream/payments/r")
    with pytest.raises(RefusedError, match=certain if real.vault.is_hashicorp else unsure):
        real.as_token("hvs.none").read("upstream/payments/r")
