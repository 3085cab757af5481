"""Identities for the tests: JWTs like those of an API server and AWS STS, and tokens like those of people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from pydantic import SecretStr

from regcred.vault.interface import KeyValue
from regcred.vault.kv2 import connect
from regcred.vault.login import JwtLogin

from .conftest import Keys, Real, short

SYNC = "system:serviceaccount:regcred-system:regcred-sync"
DISPATCH = "arn:aws:iam::123456789012:role/regcred-dispatch"
ROTATE = "arn:aws:iam::123456789012:role/regcred-rotate"
CONSOLE = "arn:aws:iam::123456789012:role/regcred-console"


def signed(keys: Keys, claims: Mapping[str, Any]) -> str:
    now = datetime.now(UTC)
    times = {"iat": now, "nbf": now, "exp": now + timedelta(minutes=10)}
    return jwt.encode({**times, **claims}, keys.private, algorithm="RS256")


def service_account_token(keys: Keys, **changes: Any) -> str:
    """A token like the one that the TokenRequest API issues to the Pod of sync."""
    claims = {
        "iss": "https://kubernetes.default.svc",
        "sub": SYNC,
        "aud": ["vault"],
        "kubernetes.io": {"namespace": "regcred-system", "serviceaccount": {"name": "regcred-sync"}},
    }
    return signed(keys, {**claims, **changes})


def web_identity_token(keys: Keys, role: str, **changes: Any) -> str:
    """A token like the one that GetWebIdentityToken of AWS STS issues to a Lambda function."""
    claims = {"iss": "https://issuer.example.com", "sub": role, "aud": "https://vault.example.com"}
    return signed(keys, {**claims, **changes})


def cluster_login(cluster: str, token: str) -> JwtLogin:
    return JwtLogin(f"regcred-cluster-{cluster}", "sync", lambda: SecretStr(token))


def lambda_login(role: str, token: str) -> JwtLogin:
    return JwtLogin("regcred-lambda", role, lambda: SecretStr(token))


def open_as(real: Real, login: JwtLogin) -> KeyValue:
    """A client that signs in with this login at its first request."""
    return connect(real.server, login, sleep=short)


def raw_token(real: Real, login: JwtLogin) -> str:
    """Sign in and return the token, for requests that our clients never send."""
    answer = real.vault.call(
        "POST",
        f"auth/{login.mount}/login",
        {"role": login.role, "jwt": login.jwt().get_secret_value()},
        token="",
    )
    return str(answer["auth"]["client_token"])


def token_with(real: Real, *policies: str) -> str:
    """A person's token with these policies and no other."""
    body = {"policies": list(policies), "no_default_policy": True, "ttl": "1h"}
    return str(real.vault.call("POST", "auth/token/create", body)["auth"]["client_token"])
