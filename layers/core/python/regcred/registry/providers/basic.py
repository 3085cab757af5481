"""Any Docker-compatible registry: the user name and password are in the upstream secret."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from regcred.credential import Credential
from regcred.registry.definition import BaseDefinition, Host, NonEmpty
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.upstream_secret import described, logins


class BasicDefinition(BaseDefinition):
    """A static login at one or several hosts."""

    summary: ClassVar[str] = "Any Docker-compatible registry: a user name and a password that you provide"

    provider: Literal["basic"]

    hosts: Annotated[tuple[Host, ...], NonEmpty] = Field(
        description="The registry's hosts in image names, as in [registry.example.com:5000]."
    )

    realm_hosts: tuple[Host, ...] = Field(
        default=(),
        description=(
            "Other hosts that may receive the login because they issue pull tokens, as in [auth.example.com]."
        ),
    )

    def typed_hosts(self) -> tuple[str, ...]:
        """The hosts of the registry and of its token service, because all of them receive the password."""
        return (*self.hosts, *self.realm_hosts)

    def upstream_fields(self) -> dict[str, str]:
        """The fields of the login. A second login can be added while the first is replaced."""
        return described("the user name", "the password, or a pull-only token")

    def realms(self) -> tuple[str, ...]:
        """The hosts of the registry's token service."""
        return self.realm_hosts


class BasicProvider:
    """Uses the upstream secret itself as the credential."""

    name = "basic"
    model = BasicDefinition

    def mint(self, definition: BasicDefinition, context: MintContext) -> Credential:
        """Return one login for each host, so that each is verified. They have no expiry."""
        return Credential(
            provider=self.name,
            logins=tuple(
                login for host in definition.hosts for login in logins(context, definition.keys([host]))
            ),
            issued_at=context.now(),
        )

    def revoke(self, definition: BasicDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Do nothing: the owner changes the password at the registry and enters the new one."""
        return Revoked.UNSUPPORTED
