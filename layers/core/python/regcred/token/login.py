"""A login: a user name and a password that expires.

The password is a token that is signed and checked like any other. Pure.

It can't be used as an access token: another key signs it, and it names another audience.
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
"""The ``aud`` of logins; no registry takes a token for this audience."""

PASSWORD_MAX = 8192
"""Characters of a password that are looked at."""

REPOSITORIES_MAX = 100
"""Prefixes that a project's login may be limited to."""

LEEWAY_SECONDS = 5
"""By how much clocks may differ."""


class Owner(StrEnum):
    """Whose login it is."""

    PROJECT = "project"
    PERSON = "person"


class Claims(BaseModel):
    """What a login says of itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: Owner
    sub: str = Field(max_length=255)
    """The project, or the id of the person's identity entity."""
    usr: str = Field(max_length=255)
    """The user name that goes with it."""
    jti: str = Field(max_length=64)
    iat: int
    exp: int
    repositories: list[str] = Field(default=[], max_length=REPOSITORIES_MAX)
    """Prefixes of repositories that a project's login is limited to; all of the project if empty."""


@dataclass(frozen=True, slots=True)
class VerifiedLogin:
    """A login whose signature and times are good."""

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
        user: The user name that came with it.
        password: The token.
        issuer: Who must have issued it.
        keys: By key id, the public keys that may have signed it, as JWKs.

    Raises:
        RefusedError: it is none of ours, has ended, or belongs to another user name.
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
    """The key at a point on P-256. Keys are few, and a login is checked for each access token."""
    return jwt.PyJWK({"kty": "EC", "crv": "P-256", "x": x, "y": y}, algorithm=ALGORITHM)


def claims_of(login: VerifiedLogin, *, issuer: str) -> dict[str, Any]:
    """What to sign for a login."""
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
