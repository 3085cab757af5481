"""Sonatype Nexus: two users whose passwords are changed in turn.

Contract: ``PUT /service/rest/v1/security/users/{userId}/change-password`` with plain text, ``GET`` and
``PUT /service/rest/v1/security/users`` (github.com/sonatype/nexus-public, UserApiResource), which need
``nexus:*``. The Docker Bearer Token Realm must be enabled.

A new password only clears Nexus's cache of logins. API keys and Docker Bearer tokens that were created with
the old password work until the user is disabled or deleted (DefaultSecuritySystem, ApiKeyServiceImpl). So a
revocation disables the user, sets the password and enables the user again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential, Login
from regcred.errors import MissingError
from regcred.registry import transport
from regcred.registry.definition import BaseDefinition, Host, NonEmpty, Server, User, server_host
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.token_slots import lock_users, renew_user
from regcred.registry.transport import Basic
from regcred.registry.upstream_secret import field_of


class NexusDefinition(BaseDefinition):
    """Docker repositories of one Nexus that two users can pull."""

    summary: ClassVar[str] = "Sonatype Nexus: two users whose passwords are changed in turn"

    provider: Literal["nexus"]

    server: Server = Field(
        description=(
            "The Nexus server, whose REST API sets the passwords, as in nexus.example.com. Add the context "
            "path if there is one (example.com/nexus)."
        )
    )

    hosts: Annotated[tuple[Host, ...], NonEmpty] = Field(
        description="The hosts of the Docker connectors in image names, as in [nexus.example.com:8443]."
    )

    users: Annotated[tuple[User, ...], NonEmpty] = Field(
        description="Two users with read access only, as in [pull-a, pull-b]. Use them for nothing else."
    )

    period_days: int = Field(
        default=7,
        ge=1,
        le=180,
        description="Days until the next user's password is changed. A password works for two periods.",
    )

    @model_validator(mode="after")
    def _two_users(self) -> NexusDefinition:
        match self.users:
            case [one, other] if one != other:
                return self
        raise ValueError("users: must be two different users, as in [pull-a, pull-b]")

    def typed_hosts(self) -> tuple[str, ...]:
        """The hosts of Nexus and of its connectors, because all of them receive passwords."""
        return tuple(dict.fromkeys((server_host(self.server), *self.hosts)))

    def realms(self) -> tuple[str, ...]:
        """Nexus's own host, which it may name as its token service behind a proxy."""
        return (server_host(self.server),)

    def upstream_fields(self) -> dict[str, str]:
        """The login that sets passwords."""
        return {"username": "an administrator's user name", "password": "the administrator's password"}

    def replaces_passwords(self) -> tuple[str, ...]:
        """Both users."""
        return self.pair()

    def pair(self) -> tuple[str, str]:
        """The users of slot A and B."""
        return self.users[0], self.users[1]


class NexusProvider:
    """Mints a login by setting a password."""

    name = "nexus"
    model = NexusDefinition

    def mint(self, definition: NexusDefinition, context: MintContext) -> Credential:
        """Renew the user that is not in use; see :class:`regcred.registry.interface.Provider`."""
        token = renew_user(_Users(definition, context), definition.pair(), context)
        issued_at = context.now()
        return Credential(
            provider=self.name,
            logins=(Login(token.username, token.secret, definition.keys(definition.hosts)),),
            issued_at=issued_at,
            # After two periods, this user's password is changed again. Half of that is the other user's turn.
            expires_at=issued_at + 2 * timedelta(days=definition.period_days),
            revocation_id=token.id,
        )

    def revoke(self, definition: NexusDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Set passwords that nobody knows for both users, and end the pull tokens of the old passwords."""
        lock_users(_Users(definition, context), definition.pair())
        return Revoked.YES


class _Users:
    """The users of Nexus."""

    def __init__(self, definition: NexusDefinition, context: MintContext) -> None:
        self._url = f"{transport.origin(definition.server)}/service/rest/v1/security/users"
        self._server = definition.server
        self._auth = Basic(field_of(context, "username").get_secret_value(), field_of(context, "password"))

    def set_password(self, user: str, password: SecretStr) -> None:
        """Set a user's password."""
        answer = transport.send(
            "PUT",
            f"{self._url}/{user}/change-password",
            auth=self._auth,
            headers={"Content-Type": "text/plain"},
            text=password,
        )
        self._expect(answer, user, "setting a password", ok=(204,))

    def lock_out(self, user: str, password: SecretStr) -> None:
        """Disable a user, which ends its API keys and pull tokens.

        Then set a new password and enable the user again.
        """
        found = self._find(user)
        self._put(user, {**found, "status": "disabled"})
        self.set_password(user, password)
        self._put(user, {**found, "status": "active"})

    def _find(self, user: str) -> dict[str, Any]:
        """Read a user. Nexus's search also finds users whose names only begin like this one's."""
        query = (("userId", user), ("source", "default"))
        answer = transport.send("GET", self._url, auth=self._auth, query=query)
        self._expect(answer, user, "reading a user", ok=(200,))
        found = next((item for item in answer.mappings() if item.get("userId") == user), None)
        if found is None:
            raise MissingError(
                f"{self._server} has no local user {user}; create it, or name another in 'users'"
            )
        return found

    def _put(self, user: str, document: Mapping[str, Any]) -> None:
        answer = transport.send("PUT", f"{self._url}/{user}", auth=self._auth, document=dict(document))
        self._expect(answer, user, f"setting a user to {document['status']}", ok=(200, 204))

    def _expect(self, answer: transport.Answer, user: str, action: str, *, ok: tuple[int, ...]) -> None:
        remedy = f"check that the user {user} exists and that the upstream user is an administrator"
        transport.expect(answer, what=f"{self._server}: {action}", remedy=remedy, ok=ok)
