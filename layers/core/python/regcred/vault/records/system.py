"""The documents of the system registry: its configuration, its public keys, and ended logins.

They contain no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from regcred.errors import TransientError
from regcred.vault.records.document import Declared, Label, Record

ACCESS_KEY = "access"
"""The key that signs access tokens. Registries trust it."""

LOGIN_KEY = "logins"
"""The key that signs logins. Only the token server trusts it."""

CLIENT_ID = "regcred-system"
"""The audience of people's identity tokens. The role and the key that create them have the same name."""

DENIED_MAX = 1000
"""How many single logins of a project are remembered as ended. One more ends all logins that the project has
received until then."""

USED_MAX = 500
"""How many used identity tokens of a project are remembered. Each lives a few minutes."""


class TrustedIssuer(Declared):
    """An issuer of identity tokens for projects: the outbound web identity federation of an AWS account."""

    issuer: str = Field(pattern=r"https://[^\s?#]+", max_length=512)
    """The ``iss`` of its tokens."""
    jwks: dict[str, Any] = {}
    """Its public keys as a JWK set. If this is empty, they are fetched from the issuer."""


class SystemConfig(Declared):
    """``system/config``: written by ``regcred system init``."""

    host: str = Field(max_length=255)
    """The registry's host[:port], as used in image names."""
    token_url: str = Field(pattern=r"https?://[^\s?#]+", max_length=512)
    """The URL of the token server, without a path."""
    issuer: str = Field(max_length=255)
    """The ``iss`` of access tokens, as in the registry's settings (REGISTRY_AUTH_TOKEN_ISSUER)."""
    service: str = Field(max_length=255)
    """The ``aud`` of access tokens, as in the registry's settings (REGISTRY_AUTH_TOKEN_SERVICE)."""
    key_header: Literal["kid", "x5c"] = "kid"
    """How an access token names its key: by its ID, for registries with a JWK set (Distribution 3), or by its
    certificate, for registries with a bundle (2.8 and 3)."""
    token_seconds: int = Field(default=300, ge=60, le=3600)
    """The lifetime of an access token."""
    login_seconds: int = Field(default=43200, ge=600, le=604800)
    """The maximum lifetime of a person's login."""
    community: list[Label] = ["community", "library"]
    """The first components of repositories that every login may pull."""
    issuers: list[TrustedIssuer] = Field(default=[], max_length=16)
    """The issuers whose identity tokens are accepted for projects."""


class SystemKey(Record):
    """One version of the key that signs access tokens."""

    version: int
    """Its version in the transit engine."""
    kid: str
    """Its RFC 7638 thumbprint."""
    jwk: dict[str, str]
    certificate: str
    """The key's certificate in PEM. Its authority was created for this key, and its private key discarded."""
    authority: str
    """The certificate of that authority in PEM. It is in a registry's bundle."""
    signs_from: AwareDatetime
    """When the key starts to sign. Registries load keys at their start, so they must have it before."""


class SystemKeys(Record):
    """``system/keys``: the public keys, oldest first."""

    keys: list[SystemKey] = []
    logins: dict[str, dict[str, str]] = {}
    """By key ID, the public keys that verify logins, as JWKs."""

    def signing(self, now: datetime) -> SystemKey | None:
        """The newest key that may sign already."""
        ready = [key for key in self.keys if key.signs_from <= now]
        return max(ready, key=lambda key: key.version, default=None)

    def jwks(self) -> dict[str, list[Mapping[str, str]]]:
        """All keys as a JWK set."""
        return {"keys": [{**key.jwk, "kid": key.kid, "alg": "ES256", "use": "sig"} for key in self.keys]}

    def bundle(self) -> str:
        """All certificate authorities as a bundle."""
        return "".join(key.authority for key in self.keys)


class UsedTokens(Record):
    """``system/used/<project>``: digests of used identity tokens, until these expire."""

    tokens: dict[str, float] = {}
    """By digest, when the token expires, in seconds since the epoch."""

    def with_token(self, digest: str, *, until: float, now: float) -> UsedTokens:
        """The document with one more token.

        Raises:
            TransientError: too many tokens are remembered at the moment.
        """
        left = {name: end for name, end in self.tokens.items() if end > now}
        if len(left) >= USED_MAX:
            raise TransientError(
                f"more than {USED_MAX} identity tokens of this project are in use; try again in a few "
                "minutes",
                retry_after=timedelta(minutes=1),
            )
        return UsedTokens(tokens=left | {digest: until})


class EndedLogins(Record):
    """``system/ended/<project>`` and ``system/ended/_people``: logins that were ended before their expiry."""

    not_before: AwareDatetime | None = None
    """All logins that were issued before this time are refused."""
    denied: dict[str, AwareDatetime] = {}
    """By the ID of a refused login: when it expires."""
    people: dict[str, AwareDatetime] = {}
    """By the ID of an entity: its logins that were issued before this time are refused."""

    def ends(self, identifier: str, issued_at: datetime) -> bool:
        """Whether a login is refused."""
        before = self.not_before
        return identifier in self.denied or (before is not None and issued_at < before)

    def deny(self, identifier: str, until: datetime, *, now: datetime) -> EndedLogins:
        """The document with one more login. Logins that have expired are dropped."""
        left = {name: end for name, end in self.denied.items() if end > now} | {identifier: until}
        if len(left) > DENIED_MAX:
            return self.model_copy(update={"not_before": now, "denied": {}})
        return self.model_copy(update={"denied": left})

    def end_person(self, entity: str, *, now: datetime, longest: timedelta) -> EndedLogins:
        """The document after all logins of a person are ended."""
        left = {name: since for name, since in self.people.items() if since > now - longest}
        return self.model_copy(update={"people": left | {entity: now}})


@dataclass(frozen=True, slots=True)
class Person:
    """A person, as Vault knows them."""

    entity: str
    """The ID of the identity entity."""
    name: str
