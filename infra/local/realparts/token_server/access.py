"""The access tokens that Distribution checks itself (distribution spec, token authentication)."""

from __future__ import annotations

import base64
import secrets
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from realparts import pki
from realparts.used_secrets import remember

SERVICE = "regcred-local"
ISSUER = "regcred-local-token-server"
ACCESS_SECONDS = 60

Access = list[dict[str, Any]]
"""For each repository, its `type`, its `name` and the allowed `actions`."""


class AccessTokens:
    """Signs the tokens with a certificate of the registry's own authority."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        authority = pki.Authority(directory / "pki", "regcred local registry")
        certificate, key = authority.issue("token", user="token server")
        self._key = key.read_bytes()
        der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(
            serialization.Encoding.DER
        )
        self._x5c = [base64.b64encode(der).decode()]

    def issue(self, subject: str, access: Access, limit: float | None) -> dict[str, Any]:
        """Return the response of the token endpoint.

        Args:
            subject: the user.
            access: the access that the token gives.
            limit: the latest expiry in seconds since the epoch; None for no limit.
        """
        now = time.time()
        expires = now + ACCESS_SECONDS if limit is None else min(now + ACCESS_SECONDS, limit)
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "aud": SERVICE,
            "exp": int(expires) + 1,
            "nbf": int(now) - 1,
            "iat": int(now),
            "jti": secrets.token_hex(8),
            "access": access,
        }
        token = jwt.encode(claims, self._key, algorithm="ES256", headers={"x5c": self._x5c})
        remember(self._directory.parent, token)
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        # The specification requires at least 60 here, even if the token lives for less.
        return {"token": token, "access_token": token, "expires_in": ACCESS_SECONDS, "issued_at": issued}
