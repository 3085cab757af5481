"""The mint and the revocation that all vendors of named tokens share."""

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

    A subclass says where the tokens are and under which keys clusters find the login.
    """

    name: ClassVar[str]

    @abstractmethod
    def vendor(self, definition: DefinitionT, context: MintContext) -> TokenVendor:
        """The vendor's tokens, as this definition's owner sees them."""

    @abstractmethod
    def keys(self, definition: DefinitionT) -> tuple[str, ...]:
        """The keys of the ``auths`` map."""

    def mint(self, definition: DefinitionT, context: MintContext) -> Credential:
        """Renew the slot that is not in force; see :class:`regcred.registry.interface.Provider`."""
        token = renew_token(self.vendor(definition, context), context)
        return token.credential(provider=self.name, keys=self.keys(definition), issued_at=context.now())

    def revoke(self, definition: DefinitionT, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Delete the token and the one before it, which clusters had as well."""
        end_tokens(self.vendor(definition, context), issued.revocation_id, context)
        return Revoked.YES
