"""The interface of a provider, which turns a definition and the project's identity into a credential.

A provider is one file that implements :class:`Provider`, and one line in the catalog. In a separate package,
it is an entry point of the group ``regcred.providers``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Generic, Protocol, TypeVar

from pydantic import SecretStr

from regcred.credential import Credential
from regcred.registry.definition import BaseDefinition
from regcred.registry_reference import Reference


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """Session credentials of the project's own IAM role."""

    access_key_id: str
    secret_access_key: SecretStr
    session_token: SecretStr
    expires_at: datetime


class Identity(Protocol):
    """A project's external identity: its own IAM role.

    The role has the path ``/regcred/``. Its external ID and its session tag are the project. Every federated
    call starts from it, so a definition that names another project's account gets no access.

    Methods raise RefusedError (the role is not trusted) and TransientError.
    """

    def aws(self) -> AwsCredentials:
        """Credentials of the project's role, assumed at most once per invocation."""

    def web_identity_token(self, audience: str, lifetime: timedelta) -> SecretStr:
        """A signed JWT of the project's role for one audience (AWS STS GetWebIdentityToken, 60 s to 1 h)."""


@dataclass(frozen=True, slots=True)
class MintContext:
    """What a provider may use in addition to the definition."""

    reference: Reference
    now: Callable[[], datetime]
    """The clock; timezone-aware, UTC."""
    identity: Identity
    upstream: Mapping[str, SecretStr] = field(repr=False)
    """The upstream secret's fields; empty if the definition needs none."""
    in_force: str = ""
    """The ``revocation_id`` of the credential that is now in Vault, or empty. A provider with two slots never
    changes the slot of this credential."""
    slot_store: SlotStore | None = None
    """Where A/B providers save every upstream change before they make it. None: nothing is saved."""


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """An earlier credential: the parts that a provider needs to revoke it."""

    revocation_id: str = field(repr=False)
    """The vendor's ID for it, or empty (see :attr:`regcred.credential.Credential.revocation_id`)."""
    password: SecretStr | None
    """The password of its first login, because some vendors let only the holder of a token revoke it. None if
    the definition now names another destination, where the password must not be sent."""

    @classmethod
    def of(cls, credential: Credential) -> IssuedCredential:
        """The parts of a credential that a revocation needs."""
        first = credential.logins[0]
        return cls(credential.revocation_id, first.password)


class SlotName(StrEnum):
    """The two slots that take turns."""

    A = "a"
    B = "b"

    @property
    def other(self) -> SlotName:
        """The other slot."""
        return SlotName.B if self is SlotName.A else SlotName.A


@dataclass(frozen=True, slots=True)
class Slots:
    """The state of both slots of one registry. ``rotations/P/R`` stores it."""

    states: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """By slot, the data that the provider needs to renew and remove it. May contain upstream secrets."""
    active: SlotName | None = None
    """The slot whose credential was in use when the last rotation began."""
    pending: SlotName | None = None
    """The slot whose saved state may not be set upstream yet."""


class SlotStore(Protocol):
    """Saves slots by check-and-set before each upstream change, so that a crash leaves no unknown object."""

    def read(self) -> Slots:
        """The slots at the time of the claim or of the last :meth:`write`; empty if there are none."""

    def latest(self) -> Slots:
        """The slots that are stored now, perhaps by another run. :meth:`write` then still fails."""

    def write(self, slots: Slots) -> None:
        """Save.

        Raises:
            ConflictError: Another run has written in between. Nothing was saved.
        """


class Revoked(StrEnum):
    """The result of a revocation."""

    YES = "yes"
    """The vendor no longer accepts the credential."""
    UNSUPPORTED = "unsupported"
    """The vendor can't end it early. It works until it expires."""


DefinitionT_contra = TypeVar("DefinitionT_contra", bound="BaseDefinition", contravariant=True)


class Provider(Protocol, Generic[DefinitionT_contra]):
    """Creates credentials for one kind of registry. Instances hold no state between calls.

    ``name`` is the definition's ``provider``. ``model`` is the model of its definitions.

    Methods raise these types of regcred.errors:

    - TransientError: network, throttle, 5xx.
    - TooSoonError: a new credential would end one that clusters still use. It is not a failure.
    - RefusedError: the vendor refused.
    - MalformedError: the definition, the upstream secret or the vendor's response is wrong. Names the field.
    - MissingError: the upstream secret or the vendor's object does not exist.
    """

    name: ClassVar[str]
    model: ClassVar[type[BaseDefinition]]

    def mint(self, definition: DefinitionT_contra, context: MintContext) -> Credential:
        """Create a new credential. Its hosts and expiry come from the vendor's response.

        A credential without an expiry is the upstream secret itself. It is verified a few times a day instead
        of created again.
        """

    def revoke(
        self, definition: DefinitionT_contra, issued: IssuedCredential, context: MintContext
    ) -> Revoked:
        """End a credential early, if the vendor can.

        Args:
            definition: The current definition. It may have changed since the credential was created.
            issued: The credential to end.
            context: See :class:`MintContext`.
        """


class Verdict(StrEnum):
    """The result of the check at the registry."""

    CAN_PULL = "can-pull"
    WIDER = "wider"
    """The credential can pull, and can do more than requested: push, or reach other repositories."""
    REFUSED = "refused"
    INCONCLUSIVE = "inconclusive"
    """A 404, a 429, no probe image, or an unreachable registry. This proves nothing."""


@dataclass(frozen=True, slots=True)
class Verification:
    """A verdict, and one line with its explanation."""

    verdict: Verdict
    detail: str
    login_accepted: bool = False
    """Whether the registry accepted the login, even if the verdict is inconclusive without an image."""


class Verifier(Protocol):
    """Checks at a registry whether a credential works.

    Contracts: the OCI distribution specification and token authentication.
    """

    def verify(self, definition: BaseDefinition, credential: Credential) -> Verification:
        """Try the credential at each of its hosts. Never raises, whatever the registry responds."""
