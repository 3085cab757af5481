"""Signing in on real servers, set up as ``infra/vault`` says."""

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


def test_a_cluster_signs_in_with_its_service_account_token(real: Real, keys: dict[str, Keys]) -> None:
    kv = identities.opened(real, identities.cluster_login("c1", identities.service_account_token(keys["c1"])))
    kv.read("platform/clusters/c1")
    with pytest.raises(RefusedError, match="permission denied"):
        kv.read("platform/clusters/c2")


def test_the_lambdas_sign_in_each_by_its_own_role(real: Real, keys: dict[str, Keys]) -> None:
    token = identities.web_identity_token(keys["aws"], identities.ROTATE)
    kv = identities.opened(real, identities.lambda_login("rotate", token))
    assert kv.version("upstream/payments/never") == 0
    with pytest.raises(RefusedError, match="its subject is not one of those"):
        identities.opened(real, identities.lambda_login("dispatch", token)).list("registries")
    other = identities.web_identity_token(keys["aws"], identities.ROTATE, iss="https://other.example.com")
    with pytest.raises(RefusedError, match="issuer"):
        identities.opened(real, identities.lambda_login("rotate", other)).version("upstream/payments/never")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aud": ["kubernetes"]}, "audience"),
        ({"sub": "system:serviceaccount:regcred-system:default"}, "subject"),
        ({"exp": datetime.now(UTC) - timedelta(hours=1), "iat": datetime.now(UTC) - timedelta(hours=2),
          "nbf": datetime.now(UTC) - timedelta(hours=2)}, "expired"),
        ({"nbf": datetime.now(UTC) + timedelta(hours=1)}, "not valid yet"),
        ({"iat": datetime.now(UTC) + timedelta(hours=1)}, "issued in the future"),
    ],
)  # fmt: skip
def test_a_token_that_is_not_the_one_wanted_is_refused_and_the_text_says_why(
    real: Real, keys: dict[str, Keys], changes: dict[str, object], said: str
) -> None:
    token = identities.service_account_token(keys["c1"], **changes)
    with pytest.raises(RefusedError, match=said) as caught:
        identities.opened(real, identities.cluster_login("c1", token)).version("platform/clusters/c1")
    assert token not in str(caught.value)


def test_one_cluster_cannot_pose_as_another(real: Real, keys: dict[str, Keys]) -> None:
    token = identities.service_account_token(keys["c1"])
    with pytest.raises(RefusedError, match="signature"):
        identities.opened(real, identities.cluster_login("c2", token)).version("platform/clusters/c2")


def test_a_role_that_is_not_there_is_named_as_the_cause(real: Real, keys: dict[str, Keys]) -> None:
    login = JwtLogin(
        "regcred-cluster-c1", "nobody", lambda: SecretStr(identities.service_account_token(keys["c1"]))
    )
    with pytest.raises(RefusedError, match="the role does not exist"):
        identities.opened(real, login).version("platform/clusters/c1")


def test_a_method_that_is_not_there_is_refused(real: Real, keys: dict[str, Keys]) -> None:
    login = JwtLogin(
        "regcred-cluster-c9", "sync", lambda: SecretStr(identities.service_account_token(keys["c1"]))
    )
    with pytest.raises(RefusedError, match="no such sign-in method"):
        identities.opened(real, login).version("platform/clusters/c9")


def test_the_projected_token_is_read_anew_at_each_sign_in(
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


def test_signs_in_once_more_when_the_token_is_no_longer_valid(real: Real) -> None:
    tokens = [identities.token_with(real, "regcred-platform-admin") for _ in range(2)]
    given = iter([*tokens, "hvs.none"])
    kv = connect(real.server, TokenLogin(lambda: SecretStr(next(given))))
    assert kv.version("platform/projects/none") == 0
    real.vault.call("POST", "auth/token/revoke", {"token": tokens[0]})
    assert kv.version("platform/projects/none") == 0
    with pytest.raises(RefusedError, match="permission denied"):
        kv.read("upstream/payments/r")


def test_a_bad_token_is_told_apart_from_a_missing_permission_if_the_server_does(real: Real) -> None:
    unsure = r"the token is not valid \(any more\), or its policy does not allow this$"
    certain = r"the token is not valid \(any more\)$"
    with pytest.raises(RefusedError, match=unsure):
        real.as_token(identities.token_with(real, "regcred-platform-admin")).read("upstream/payments/r")
    with pytest.raises(RefusedError, match=certain if real.vault.is_hashicorp else unsure):
        real.as_token("hvs.none").read("upstream/payments/r")
