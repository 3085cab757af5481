"""Any Docker-compatible registry with a user and a password that its owner keeps in the upstream secret."""

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
        """The registry's hosts, and those of its token service: both receive the password."""
        return (*self.hosts, *self.realm_hosts)

    def upstream_fields(self) -> dict[str, str]:
        """The login itself, and a second one while the first is replaced."""
        return described("the user name", "the password, or a pull-only token")

    def realms(self) -> tuple[str, ...]:
        """The hosts of the registry's token service."""
        return self.realm_hosts


class BasicProvider:
    """Hands out the upstream secret as it is."""

    name = "basic"
    model = BasicDefinition

    def mint(self, definition: BasicDefinition, context: MintContext) -> Credential:
        """One login per host, so that each is verified by itself; it has no expiry."""
        return Credential(
            provider=self.name,
            logins=tuple(
                login for host in definition.hosts for login in logins(context, definition.keys([host]))
            ),
            issued_at=context.now(),
        )

    def revoke(self, definition: BasicDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Nothing: the owner ends it at the registry and writes a new one."""
        return Revoked.UNSUPPORTED
