"""What a provider is: it turns a definition and the project's identity into a credential.

A provider is one file that implements :class:`Provider`, and one line in the catalog (or an entry point of the
group ``regcred.providers`` in a package of its own).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Generic, Protocol, TypeVar

from pydantic import SecretStr

from regcred.credential import Credential
from regcred.reference import Reference
from regcred.registry.definition import BaseDefinition


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """Session credentials of the project's own IAM role."""

    access_key_id: str
    secret_access_key: SecretStr
    session_token: SecretStr
    expires_at: datetime


class Identity(Protocol):
    """Who a project is to the outside: its own IAM role (path ``/regcred/``, ExternalId and session tag = project).

    Every federated call starts from it, so a definition that names another project's account gets nothing.
    Methods raise RefusedError (not trusted), TransientError.
    """

    def aws(self) -> AwsCredentials:
        """Credentials of the project's role, assumed at most once per invocation."""

    def web_identity_token(self, audience: str, lifetime: timedelta) -> SecretStr:
        """A signed JWT of the project's role for one audience (AWS STS GetWebIdentityToken, 60 s to 1 h)."""


@dataclass(frozen=True, slots=True)
class MintContext:
    """What a provider may use beside the definition."""

    reference: Reference
    now: Callable[[], datetime]
    """The clock; aware, UTC."""
    identity: Identity
    upstream: Mapping[str, SecretStr] = field(repr=False)
    """The upstream secret's fields, empty where the definition needs none."""
    in_force: str = ""
    """The ``revocation_id`` of the credential that lies in Vault now, or empty: an A/B slot that clusters use is
    never touched."""
    slot_store: SlotStore | None = None
    """Where A/B providers save every upstream change before they make it; None: one that is forgotten."""


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """A credential that was minted earlier: what a provider needs to end it."""

    revocation_id: str = field(repr=False)
    """The vendor's id for it, or empty (see :attr:`regcred.credential.Credential.revocation_id`)."""
    password: SecretStr | None
    """The password of its first login: some vendors end a token for anybody who holds it. None if the definition now names
    another destination, because the secret must not be sent there."""

    @classmethod
    def of(cls, credential: Credential) -> IssuedCredential:
        """The part of a credential that a revocation needs."""
        first = credential.logins[0]
        return cls(credential.revocation_id, first.password)


class SlotName(StrEnum):
    """The two slots of a static upstream that is rotated in turn."""

    A = "a"
    B = "b"

    @property
    def other(self) -> SlotName:
        """The other slot."""
        return SlotName.B if self is SlotName.A else SlotName.A


@dataclass(frozen=True, slots=True)
class Slots:
    """What is known of both slots of one registry; ``rotations/P/R`` keeps it."""

    states: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """By slot, what the provider needs to use, renew and remove it. May hold upstream secrets."""
    active: SlotName | None = None
    """The slot whose credential was in force when the last rotation began."""
    pending: SlotName | None = None
    """The slot whose saved state may or may not have been set upstream yet."""


class SlotStore(Protocol):
    """Saves slots by check-and-set before each upstream change, so that a crash leaves nothing unknown upstream."""

    def read(self) -> Slots:
        """What was saved last; empty slots if nothing was."""

    def latest(self) -> Slots:
        """The slots that are stored now. Reading them does not renew the right to write."""

    def write(self, slots: Slots) -> None:
        """Save.

        Raises:
            ConflictError: Somebody else wrote since :meth:`read` (or the last write); nothing was saved.
        """


class Revoked(StrEnum):
    """What a revocation achieved."""

    YES = "yes"
    """The vendor no longer accepts the credential."""
    UNSUPPORTED = "unsupported"
    """The vendor has no way to end it early; it lives until it expires."""


DefinitionT_contra = TypeVar("DefinitionT_contra", bound="BaseDefinition", contravariant=True)


class Provider(Protocol, Generic[DefinitionT_contra]):
    """Mints for one kind of registry. Instances hold no state between calls.

    ``name`` is the definition's ``provider``, ``model`` the model of its definitions.

    Methods raise the types of regcred.errors: TransientError (network, throttle, 5xx), TooSoonError (a turn that would end
    what clusters still use: no failure, all stays as it is), RefusedError (the vendor
    said no), MalformedError (the definition, the upstream secret or the vendor's answer; names the field),
    MissingError (the upstream secret or the vendor's object does not exist).
    """

    name: ClassVar[str]
    model: ClassVar[type[BaseDefinition]]

    def mint(self, definition: DefinitionT_contra, context: MintContext) -> Credential:
        """Fetch a new credential; its hosts and expiry come from the vendor's answer.

        One without an expiry is the upstream secret itself: it is checked a few times a day instead of minted
        again.
        """

    def revoke(
        self, definition: DefinitionT_contra, issued: IssuedCredential, context: MintContext
    ) -> Revoked:
        """End a credential early, where the vendor can.

        Args:
            definition: The definition as it is now; it may have changed since the credential was minted.
            issued: The credential to end, with its secret: some vendors end a token only for its holder.
            context: See :class:`MintContext`.
        """


class Verdict(StrEnum):
    """What the registry itself said of a credential."""

    CAN_PULL = "can-pull"
    WIDER = "wider"
    """It pulls, but may do more than was asked: push, or reach other repositories."""
    REFUSED = "refused"
    INCONCLUSIVE = "inconclusive"
    """A 404, a 429, no probe image, or the registry out of reach: proves nothing."""


@dataclass(frozen=True, slots=True)
class Verification:
    """A verdict and one line that says how it was reached."""

    verdict: Verdict
    detail: str
    taken: bool = False
    """Whether the registry took the login, also where the verdict is inconclusive for want of an image."""


class Verifier(Protocol):
    """Asks a registry whether a credential works (providers' contract: OCI distribution, token authentication)."""

    def verify(self, definition: BaseDefinition, credential: Credential) -> Verification:
        """Try the credential against each of its hosts; never raises for what the registry answers."""
