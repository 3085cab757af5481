"""Verifies identity tokens of cloud accounts with the keys that their issuers publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import jwt

from regcred.errors import RefusedError
from regcred.registry import transport
from regcred.token.interface import TokenIdentity
from regcred.vault.records.system import SystemConfig, TrustedIssuer

ALGORITHMS = ["RS256", "ES384"]
"""The signature algorithms of AWS STS (GetWebIdentityToken)."""

KEYS_SECONDS = 3600
"""How long fetched keys are used, in seconds."""

REFETCH_SECONDS = 60
"""How old fetched keys must be before an unknown key ID causes another fetch."""

LONGEST_SECONDS = 3600
"""The maximum life of an accepted identity token in seconds. Its result is cached for that long."""

TOKEN_MAX = 16384
"""The maximum number of characters of a token."""


@dataclass
class IdentityTokens:
    """:class:`regcred.token.interface.Issuers`."""

    now: Callable[[], float] = time.time
    _fetched: dict[str, tuple[float, Mapping[str, Any]]] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def subject(self, token: str, config: SystemConfig, *, audience: str) -> TokenIdentity:
        """See :class:`Issuers`."""
        trusted = self._issuer(token, config)
        try:
            kid = str(jwt.get_unverified_header(token).get("kid"))
            key = self._key(trusted, kid)
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=audience,
                issuer=trusted.issuer,
                leeway=30,
                options={"require": ["exp", "iat", "aud", "iss", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            raise RefusedError(
                f"the identity token is not valid: it must be signed by {trusted.issuer}, be for "
                f"{audience}, and not have expired"
            ) from None
        if claims["exp"] - claims["iat"] > LONGEST_SECONDS:
            raise RefusedError(f"the identity token is valid for more than {LONGEST_SECONDS} seconds")
        return TokenIdentity(trusted.issuer, str(claims["sub"]), float(claims["exp"]))

    def _issuer(self, token: str, config: SystemConfig) -> TrustedIssuer:
        if len(token) > TOKEN_MAX:
            raise RefusedError("the identity token is too long")
        try:
            named = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise RefusedError("the identity token is not a JSON Web Token") from None
        for trusted in config.issuers:
            if trusted.issuer == named:
                return trusted
        raise RefusedError(
            "the issuer of the identity token is not trusted; a platform admin adds it: regcred system "
            "init --issuer ..."
        )

    def _key(self, trusted: TrustedIssuer, kid: str) -> jwt.PyJWK:
        keys = trusted.jwks or self._keys(trusted.issuer, kid)
        for key in jwt.PyJWKSet.from_dict(dict(keys)).keys:
            if key.key_id == kid:
                return key
        raise ValueError("no key has this ID")

    def _keys(self, issuer: str, kid: str) -> Mapping[str, Any]:
        with self._lock:
            fetched, keys = self._fetched.get(issuer, (0.0, {}))
            age = self.now() - fetched
            known = any(isinstance(key, Mapping) and key.get("kid") == kid for key in keys.get("keys", ()))
            if age > KEYS_SECONDS or (not known and age > REFETCH_SECONDS):
                keys = _fetch(issuer)
                self._fetched[issuer] = self.now(), keys
            return keys


def _fetch(issuer: str) -> Mapping[str, Any]:
    what = f"{issuer}: reading its signing keys"
    discovered = transport.expect(
        transport.send("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration"), what=what, remedy=""
    ).fields(what=what)
    address = transport.text_field(discovered, "jwks_uri", what=what)
    return transport.expect(transport.send("GET", address), what=what, remedy="").fields(what=what)
