"""The creation and revocation of tokens for all vendors with named tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from regcred.credential import Credential
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.slots import TokenVendor, end_tokens, renew_token

DefinitionT = TypeVar("DefinitionT", bound=BaseDefinition)


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
