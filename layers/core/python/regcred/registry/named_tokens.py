"""The creation and revocation of tokens for all vendors with named tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from pydantic import Field

from regcred.credential import Credential
from regcred.registry.definition import BaseDefinition, Host, Server, server_host
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.token_slots import TokenVendor, end_tokens, renew_token

DefinitionT = TypeVar("DefinitionT", bound=BaseDefinition)


class ServerDefinition(BaseDefinition):
    """Images of a server that a team runs itself.

    Its API creates the tokens, and may be at an address of its own.
    """

    host: Host = Field(description="The registry's host in image names.")

    server: Server = Field(
        default="",
        description=(
            "The server whose API creates the tokens, if it is not at 'host': another host, or a host with "
            "a path (example.com/registry)."
        ),
    )

    def api(self) -> str:
        """Where the API is: host and path."""
        return self.server or self.host

    def typed_hosts(self) -> tuple[str, ...]:
        """The registry and the API: both receive passwords."""
        return tuple(dict.fromkeys((self.host, server_host(self.api()))))

    def realms(self) -> tuple[str, ...]:
        """The API's host may be the token service of the registry."""
        return (server_host(self.api()),)


class NamedTokenProvider(ABC, Generic[DefinitionT]):
    """A provider for a vendor that keeps named tokens: Docker Hub, GitLab, Gitea, Harbor.

    A subclass says where the tokens are, and which keys the login has in clusters.
    """

    name: ClassVar[str]

    @abstractmethod
    def vendor(self, definition: DefinitionT, context: MintContext) -> TokenVendor:
        """The vendor's tokens that this definition's owner can see."""

    @abstractmethod
    def keys(self, definition: DefinitionT) -> tuple[str, ...]:
        """The keys of the ``auths`` map."""

    def mint(self, definition: DefinitionT, context: MintContext) -> Credential:
        """Renew the slot that is not in use; see :class:`regcred.registry.interface.Provider`."""
        token = renew_token(self.vendor(definition, context), context)
        return token.credential(provider=self.name, keys=self.keys(definition), issued_at=context.now())

    def revoke(self, definition: DefinitionT, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Delete the token and its predecessor, which clusters had as well."""
        end_tokens(self.vendor(definition, context), issued.revocation_id, context)
        return Revoked.YES
