"""How the token server checks the identity tokens of projects, and how often it fetches an issuer's keys."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from regcred.adapters import identity_tokens
from regcred.adapters.identity_tokens import KEYS_SECONDS, REFETCH_SECONDS, IdentityTokens
from regcred.errors import RefusedError, TransientError
from regcred.vault.records.system import SystemConfig, TrustedIssuer

ISSUER = "https://11111111-2222-3333-4444-555555555555.tokens.sts.global.api.aws"
AUDIENCE = "https://token.example.com"
CONFIG = SystemConfig(
    host="registry.example.com",
    token_url=AUDIENCE,
    issuer="regcred-system",
    service="registry.example.com",
    issuers=[TrustedIssuer(issuer=ISSUER)],
)
OLD, NEW = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))


class Issuer:
    """An issuer that counts how often its keys are fetched."""

    def __init__(self) -> None:
        self.keys: dict[str, rsa.RSAPrivateKey] = {"old": OLD}
        self.fetched = 0
        self.down = False

    def fetch(self, issuer: str) -> dict[str, Any]:
        assert issuer == ISSUER
        if self.down:
            raise TransientError("the issuer did not answer")
        self.fetched += 1
        keys = [
            {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": kid}
            for kid, key in self.keys.items()
        ]
        return {"keys": keys}


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Issuer:
    issuer = Issuer()
    monkeypatch.setattr(identity_tokens, "_fetch", issuer.fetch)
    return issuer


class Clock:
    """A clock in seconds since the epoch, which tests set."""

    def __init__(self) -> None:
        self.time = time.time()

    def __call__(self) -> float:
        return self.time


def token(kid: str = "old", key: rsa.RSAPrivateKey = OLD, **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "arn:aws:iam::1:role/x", "aud": AUDIENCE, "iat": now, "exp": now + 300}
    return jwt.encode(claims | changes, key, algorithm="RS256", headers={"kid": kid})


def test_keys_are_fetched_once_and_again_after_their_lifetime(issuer: Issuer) -> None:
    clock = Clock()
    tokens = IdentityTokens(clock)
    for _ in range(3):
        assert tokens.subject(token(), CONFIG, audience=AUDIENCE).issuer == ISSUER
    assert issuer.fetched == 1
    clock.time += KEYS_SECONDS + 1
    tokens.subject(token(), CONFIG, audience=AUDIENCE)
    assert issuer.fetched == 2


def test_a_new_key_of_the_issuer_is_found_and_unknown_key_ids_cause_no_flood_of_requests(
    issuer: Issuer,
) -> None:
    clock = Clock()
    tokens = IdentityTokens(clock)
    tokens.subject(token(), CONFIG, audience=AUDIENCE)
    issuer.keys["new"] = NEW
    for number in range(20):
        with pytest.raises(RefusedError):
            tokens.subject(token(f"made-up-{number}"), CONFIG, audience=AUDIENCE)
    assert issuer.fetched == 1
    clock.time += REFETCH_SECONDS + 1
    assert tokens.subject(token("new", NEW), CONFIG, audience=AUDIENCE).subject == "arn:aws:iam::1:role/x"
    assert issuer.fetched == 2


def test_an_unreachable_issuer_is_a_transient_error(issuer: Issuer) -> None:
    issuer.down = True
    with pytest.raises(TransientError):
        IdentityTokens().subject(token(), CONFIG, audience=AUDIENCE)


def test_the_keys_of_an_untrusted_issuer_are_never_fetched(issuer: Issuer) -> None:
    with pytest.raises(RefusedError, match="not trusted"):
        IdentityTokens().subject(token(iss="https://evil.example.com"), CONFIG, audience=AUDIENCE)
    with pytest.raises(RefusedError):
        IdentityTokens().subject("x" * 20_000, CONFIG, audience=AUDIENCE)
    assert issuer.fetched == 0


def test_a_token_with_a_long_life_or_a_wrong_claim_is_refused(issuer: Issuer) -> None:
    now = int(time.time())
    for changes in ({"exp": now + 7200}, {"aud": "vault"}, {"exp": now - 60, "iat": now - 360}, {"iat": "x"}):
        with pytest.raises(RefusedError):
            IdentityTokens().subject(token(**changes), CONFIG, audience=AUDIENCE)
