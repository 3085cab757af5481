"""Registries that need no credential. With a definition, ``explain`` can report that."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NoReturn

from pydantic import Field

from regcred.errors import MissingError
from regcred.registry.definition import BaseDefinition, Host, NonEmpty
from regcred.registry.interface import IssuedCredential, MintContext, Revoked


class PublicDefinition(BaseDefinition):
    """Hosts whose images can be pulled without a login."""

    summary: ClassVar[str] = "Any public registry: 'explain' reports that it needs no credential"

    provider: Literal["public"]

    hosts: Annotated[tuple[Host, ...], NonEmpty] = Field(
        description="The registry's hosts in image names, as in [registry.k8s.io]."
    )

    def needs_credential(self) -> bool:
        """A public registry needs none."""
        return False


class McrDefinition(BaseDefinition):
    """The Microsoft Container Registry."""

    summary: ClassVar[str] = "Microsoft's public registry: 'explain' reports that it needs no credential"

    provider: Literal["mcr"]

    hosts: Annotated[tuple[Host, ...], NonEmpty] = Field(
        default=("mcr.microsoft.com",), description="The registry's hosts in image names."
    )

    def needs_credential(self) -> bool:
        """None: https://mcr.microsoft.com is public."""
        return False


class PublicProvider:
    """Creates no credential."""

    name = "public"
    model: type[PublicDefinition | McrDefinition] = PublicDefinition

    def mint(self, definition: BaseDefinition, context: MintContext) -> NoReturn:
        """Always fail, because a public registry needs no credential.

        Raises:
            MissingError: Always. Check ``needs_credential`` of the definition first.
        """
        raise MissingError(
            f"{context.reference} is public: it needs no credential, so workloads need no annotation for it"
        )

    def revoke(self, definition: BaseDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Do nothing, because there is no credential."""
        return Revoked.UNSUPPORTED


class McrProvider(PublicProvider):
    """Creates no credential."""

    name = "mcr"
    model = McrDefinition
