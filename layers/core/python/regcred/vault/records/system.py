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
"""How many single logins of a project are remembered as ended. One more ends all logins that were issued
until then."""

USED_MAX = 500
"""How many identity tokens of a project are remembered at the same time. Each lives a few minutes."""


class TrustedIssuer(Declared):
    """Who signs the identity tokens of projects: an AWS account's outbound web identity federation."""

    issuer: str = Field(pattern=r"https://[^\s?#]+", max_length=512)
    """The ``iss`` of its tokens."""
    jwks: dict[str, Any] = {}
    """Its public keys as a JWK set; fetched from the issuer if empty."""


class SystemConfig(Declared):
    """``system/config``: written by ``regcred system init``."""

    host: str = Field(max_length=255)
    """The registry's host[:port], as used in image names."""
    token_url: str = Field(pattern=r"https?://[^\s?#]+", max_length=512)
    """Where the token server is reached, without a path."""
    issuer: str = Field(max_length=255)
    """The ``iss`` of access tokens, as in the registry's settings (REGISTRY_AUTH_TOKEN_ISSUER)."""
    service: str = Field(max_length=255)
    """The ``aud`` of access tokens, as in the registry's settings (REGISTRY_AUTH_TOKEN_SERVICE)."""
    key_header: Literal["kid", "x5c"] = "kid"
    """How an access token names its key: by its id, for a JWK set (Distribution 3), or by its certificate,
    for a bundle (2.8 and 3)."""
    token_seconds: int = Field(default=300, ge=60, le=3600)
    """How long an access token lives."""
    login_seconds: int = Field(default=43200, ge=600, le=604800)
    """How long a person's login lives at most."""
    community: list[Label] = ["community", "library"]
    """First components of repositories that every login may pull."""
    issuers: list[TrustedIssuer] = Field(default=[], max_length=16)
    """Who may vouch for projects."""


class SystemKey(Record):
    """One version of the key that signs access tokens."""

    version: int
    """Its version in the transit engine."""
    kid: str
    """Its RFC 7638 thumbprint."""
    jwk: dict[str, str]
    certificate: str
    """PEM. An authority was made for this key, and then discarded."""
    authority: str
    """PEM of that authority: what a registry has in its bundle."""
    signs_from: AwareDatetime
    """From when it signs. Registries load keys at their start, so they must have it before."""


class SystemKeys(Record):
    """``system/keys``: the public keys, oldest first."""

    keys: list[SystemKey] = []
    logins: dict[str, dict[str, str]] = {}
    """By key id, the public keys that logins are checked with, as JWKs."""

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
    """``system/used/<project>``: digests of identity tokens that were used, until they end by themselves."""

    tokens: dict[str, float] = {}
    """By digest, when the token ends, in seconds since the epoch."""

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
    """``system/ended/<project>`` and ``system/ended/_people``: logins refused before their expiry."""

    not_before: AwareDatetime | None = None
    """All logins that were issued before are refused."""
    denied: dict[str, AwareDatetime] = {}
    """By a login's id, when it would have ended by itself."""
    people: dict[str, AwareDatetime] = {}
    """By an entity's id, the time before which its logins are refused."""

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

    def end_all(self, *, now: datetime) -> EndedLogins:
        """The document after all logins that were issued until now are ended."""
        return self.model_copy(update={"not_before": now, "denied": {}})

    def end_person(self, entity: str, *, now: datetime, longest: timedelta) -> EndedLogins:
        """The document after all logins of a person are ended."""
        left = {name: since for name, since in self.people.items() if since > now - longest}
        return self.model_copy(update={"people": left | {entity: now}})


@dataclass(frozen=True, slots=True)
class Person:
    """Who a person is to Vault."""

    entity: str
    """The id of the identity entity."""
    name: str
