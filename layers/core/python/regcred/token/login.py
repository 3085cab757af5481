"""A login: a user name and a password that expires. Pure.

The password is a token that is signed and verified like any other. It can't be used as an access token:
another key signs it, and it names another audience.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

import jwt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from regcred.errors import RefusedError
from regcred.token.jose import ALGORITHM, key_id

AUDIENCE = "regcred-system-login"
"""The ``aud`` of logins. No registry accepts a token with this audience."""

PASSWORD_MAX = 8192
"""The maximum length of a password."""

REPOSITORIES_MAX = 100
"""The maximum number of prefixes that a project's login can be limited to."""

LEEWAY_SECONDS = 5
"""The tolerated difference between clocks."""


class Owner(StrEnum):
    """The kind of a login's owner."""

    PROJECT = "project"
    PERSON = "person"


class Claims(BaseModel):
    """The content of a login."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: Owner
    sub: str = Field(max_length=255)
    """The project, or the ID of the person's identity entity."""
    usr: str = Field(max_length=255)
    """The user name of the login."""
    jti: str = Field(max_length=64)
    iat: int
    exp: int
    repositories: list[str] = Field(default=[], max_length=REPOSITORIES_MAX)
    """The repository prefixes that a project's login is limited to. Empty means the whole project."""


@dataclass(frozen=True, slots=True)
class VerifiedLogin:
    """A login with a valid signature and valid times."""

    owner: Owner
    subject: str
    user: str
    identifier: str
    issued_at: datetime
    expires_at: datetime
    repositories: tuple[str, ...]


def check(user: str, password: str, *, issuer: str, keys: Mapping[str, Mapping[str, str]]) -> VerifiedLogin:
    """Read a login.

    Args:
        user: The user name in the request.
        password: The token.
        issuer: The required issuer.
        keys: By key ID, the public keys that may have signed it, as JWKs.

    Raises:
        RefusedError: it is not a login of this registry, has expired, or belongs to another user name.
    """
    try:
        claims = Claims.model_validate(_decoded(password, issuer, keys))
    except (jwt.PyJWTError, ValidationError, ValueError, RecursionError):
        raise RefusedError("the password is not a login of this registry, or it has expired") from None
    if claims.usr != user:
        raise RefusedError("the password belongs to another user name")
    return VerifiedLogin(
        owner=claims.owner,
        subject=claims.sub,
        user=claims.usr,
        identifier=claims.jti,
        issued_at=datetime.fromtimestamp(claims.iat, UTC),
        expires_at=datetime.fromtimestamp(claims.exp, UTC),
        repositories=tuple(claims.repositories),
    )


def _decoded(password: str, issuer: str, keys: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    if len(password) > PASSWORD_MAX:
        raise ValueError("too long")
    key = keys.get(key_id(password))
    if key is None:
        raise ValueError("signed by an unknown key")
    decoded: dict[str, Any] = jwt.decode(
        password,
        _public_key(key["x"], key["y"]),
        algorithms=[ALGORITHM],
        audience=AUDIENCE,
        issuer=issuer,
        leeway=LEEWAY_SECONDS,
        options={"require": ["exp", "iat", "aud", "iss", "sub", "jti"]},
    )
    return decoded


@lru_cache(maxsize=16)
def _public_key(x: str, y: str) -> jwt.PyJWK:
    """The public key of a point on P-256.

    It is cached, because each request for an access token verifies a login, and there are few keys.
    """
    return jwt.PyJWK({"kty": "EC", "crv": "P-256", "x": x, "y": y}, algorithm=ALGORITHM)


def claims_of(login: VerifiedLogin, *, issuer: str) -> dict[str, Any]:
    """The content to sign for a login."""
    return {
        "iss": issuer,
        "aud": AUDIENCE,
        "owner": login.owner.value,
        "sub": login.subject,
        "usr": login.user,
        "jti": login.identifier,
        "iat": int(login.issued_at.timestamp()),
        "exp": int(login.expires_at.timestamp()),
        "repositories": list(login.repositories),
    }
