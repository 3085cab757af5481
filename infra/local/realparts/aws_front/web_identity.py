"""The identity tokens that STS issues for roles (outbound web identity federation), and their keys."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import jwt
from aiohttp import web
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from realparts import pki

from .store import Caller, digest

ALGORITHMS = ("RS256", "ES384")


def issuer(account: str) -> str:
    """Return the token issuer of an account."""
    name = digest(account)
    return f"https://{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}.tokens.sts.global.api.aws"


def public_keys(directory: Path) -> list[str]:
    """Return the PEMs of a folder's public keys: RS256, then ES384."""
    identity = WebIdentity(directory)
    return [pki.public_pem(identity.rsa), pki.public_pem(identity.ec)]


class WebIdentity:
    """The keys in a folder, which are created at first use."""

    def __init__(self, directory: Path) -> None:
        self.rsa = pki.rsa_key(directory / "web-identity-rs256.key")
        self.ec = pki.ec384_key(directory / "web-identity-es384.key")

    def token(
        self,
        caller: Caller,
        audiences: Sequence[str],
        algorithm: str,
        *,
        region: str,
        tags: dict[str, str],
        now: float,
        seconds: int,
    ) -> str:
        """Return a signed token with the claims that AWS documents.

        Args:
            caller: the subject.
            audiences: the audiences.
            algorithm: one of `ALGORITHMS`.
            region: the region of the request.
            tags: the tags in the request.
            now: seconds since the epoch.
            seconds: its lifetime.
        """
        own = {
            "aws_account": caller.account,
            "source_region": region,
            "principal_id": caller.principal,
            **({"principal_tags": caller.tags} if caller.tags else {}),
            **({"request_tags": tags} if tags else {}),
        }
        claims = {
            "iss": issuer(caller.account),
            "aud": audiences[0] if len(audiences) == 1 else list(audiences),
            "sub": caller.principal,
            "iat": int(now),
            "exp": int(now) + seconds,
            "jti": secrets.token_hex(16),
            "https://sts.amazonaws.com/": own,
        }
        key = self.rsa if algorithm == "RS256" else self.ec
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": algorithm.lower()})

    def well_known(self, request: web.Request) -> web.Response | None:
        """Serve the issuer's public metadata and keys; None for any other path."""
        if request.method != "GET" or not request.path.startswith("/.well-known/"):
            return None
        if request.path == "/.well-known/openid-configuration":
            return web.json_response(_configuration(f"https://{request.headers.get('Host', '')}"))
        return web.json_response({"keys": self._keys()})

    def _keys(self) -> list[dict[str, str]]:
        rsa = RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True)
        ec = ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True)
        return [
            {**rsa, "kid": "rs256", "use": "sig", "alg": "RS256"},
            {**ec, "kid": "es384", "use": "sig", "alg": "ES384"},
        ]


def _configuration(base: str) -> dict[str, str | list[str]]:
    """OpenID Connect Discovery 1.0, section 3."""
    return {
        "issuer": base,
        "jwks_uri": f"{base}/.well-known/jwks.json",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(ALGORITHMS),
    }
