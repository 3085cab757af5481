"""The interfaces of the token server: signers, its documents, and the identity of callers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.system import EndedLogins, Person, SystemConfig, SystemKeys


class Signer(Protocol):
    """Signs by ECDSA with P-256 and SHA-256. The key never leaves the signer."""

    def sign(self, data: bytes, *, version: int = 0) -> str:
        """The signature in the form of JWS (RFC 7518, section 3.4), base64url without padding.

        Args:
            data: What to sign.
            version: The version of the key; the newest if 0.

        Raises:
            TransientError: Vault is sealed, busy or out of reach.
            RefusedError: the server may not sign.
        """


class Records(Protocol):
    """The documents of the system registry.

    Methods raise what :class:`regcred.vault.interface.KeyValue` raises.
    """

    def config(self) -> SystemConfig:
        """The configuration of the system registry. Raises MissingError if there is none."""

    def keys(self) -> SystemKeys:
        """The public keys."""

    def project(self, project: str) -> ProjectPolicy | None:
        """What a project may use; None if there is no such project."""

    def ended(self, owner: str) -> EndedLogins:
        """The logins of a project, or of people (:data:`PEOPLE`), that ended early."""

    def change_ended(self, owner: str, change: Callable[[EndedLogins], EndedLogins]) -> None:
        """Change the ended logins by check-and-set. ``change`` may be called more than once."""

    def remember_once(self, owner: str, digest: str, *, until: float, now: float) -> bool:
        """Record that an identity token was used. Return False if it was used before.

        Times are seconds since the epoch.

        Raises:
            TransientError: too many tokens of this owner are recorded at the moment.
        """


PEOPLE = "_people"
"""The owner of people's logins; no project can have this name."""


class People(Protocol):
    """Vault's identity entities and groups."""

    def introspect(self, identity_token: str) -> Person | None:
        """The person of an identity token (Vault's ``identity/oidc``); None if Vault does not confirm it."""

    def groups(self, entity: str) -> frozenset[str] | None:
        """The names of an entity's groups, with inherited ones; None if it does not exist or is disabled."""


class Issuers(Protocol):
    """Checks identity tokens of cloud accounts."""

    def subject(self, token: str, config: SystemConfig, *, audience: str) -> TokenIdentity:
        """Verify a token, and return its identity.

        Raises:
            RefusedError: its signature, issuer, audience or times are not valid.
            TransientError: the issuer's keys can't be fetched at the moment.
        """


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """The content of a valid identity token."""

    issuer: str
    subject: str
    expires_at: float
    """Seconds since the epoch."""
