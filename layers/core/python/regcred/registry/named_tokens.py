"""The shared code of providers whose vendor keeps named tokens."""

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
    """A self-hosted registry. Its API creates the tokens, and may have another address."""

    host: Host = Field(description="The registry's host in image names.")

    server: Server = Field(
        default="",
        description=(
            "The server whose API creates the tokens, if it is not at 'host': another host, or a host with "
            "a path (example.com/registry)."
        ),
    )

    def api(self) -> str:
        """The host and path of the API."""
        return self.server or self.host

    def typed_hosts(self) -> tuple[str, ...]:
        """The registry and the API: both receive passwords."""
        return tuple(dict.fromkeys((self.host, server_host(self.api()))))

    def realms(self) -> tuple[str, ...]:
        """The API's host, which may be the token service of the registry."""
        return (server_host(self.api()),)


class NamedTokenProvider(ABC, Generic[DefinitionT]):
    """A provider for a vendor that keeps named tokens: Docker Hub, GitLab, Gitea, Harbor.

    A subclass gives access to the vendor's tokens, and names the keys of the login in clusters.
    """

    name: ClassVar[str]

    @abstractmethod
    def vendor(self, definition: DefinitionT, context: MintContext) -> TokenVendor:
        """The vendor's tokens at the location that the definition names."""

    @abstractmethod
    def keys(self, definition: DefinitionT) -> tuple[str, ...]:
        """The keys of the ``auths`` map."""

    def mint(self, definition: DefinitionT, context: MintContext) -> Credential:
        """Renew the slot that is not in use; see :class:`regcred.registry.interface.Provider`."""
        token = renew_token(self.vendor(definition, context), context)
        return token.credential(provider=self.name, keys=self.keys(definition), issued_at=context.now())

    def revoke(self, definition: DefinitionT, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Delete the token, and its predecessor, which clusters also had."""
        end_tokens(self.vendor(definition, context), issued.revocation_id, context)
        return Revoked.YES
