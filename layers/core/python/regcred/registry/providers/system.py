"""Regcred's system registry: its token server creates short-lived pull secrets for the project's role.

Contract (:mod:`regcred.token.web`): ``POST /v1/credentials`` with the project's identity token as Bearer and
``{"project": name, "repositories": [...], "expires_in": seconds}`` returns 201 ``{"id", "username",
"password", "expires_at"}``. ``DELETE /v1/credentials/{id}?project=name`` revokes one. The identity token's
subject, the project's IAM role, proves the identity.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field, SecretStr

from regcred.credential import Credential, Login
from regcred.registry import transport
from regcred.registry.definition import BaseDefinition, Host
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.token_expiry import at_time
from regcred.registry.transport import Bearer
from regcred.registry.trust import ProjectRole, document

ASSERTION_LIFETIME = timedelta(minutes=5)
_REMEDY = "add this project's IAM role to the system registry"


class SystemDefinition(BaseDefinition):
    """The project's images in the system registry."""

    summary: ClassVar[str] = "Regcred's system registry: short-lived pull secrets for the project's identity"

    provider: Literal["system"]

    host: Host = Field(description="The system registry's host in image names.")

    token_host: Host = Field(description="The host of the system registry's token server.")

    lifetime_seconds: int = Field(
        default=43200, ge=600, le=86400, description="The lifetime of a pull secret in seconds."
    )

    def typed_hosts(self) -> tuple[str, ...]:
        """The hosts of the registry and of its token server."""
        return (self.host, self.token_host)

    def trust(self, role: ProjectRole) -> str:
        """The configuration for the token server."""
        audience = f"https://{self.token_host}"
        return (
            f"The token server {self.token_host} needs this project in its configuration:\n"
            + document({"project": role.project, "issuer": role.issuer_or_name, "subject": role.role_arn})
            + f"\n{role.identity_note(audience)}"
        )

    def realms(self) -> tuple[str, ...]:
        """The token server's host."""
        return (self.token_host,)


class SystemProvider:
    """Mints a pull secret."""

    name = "system"
    model = SystemDefinition

    def mint(self, definition: SystemDefinition, context: MintContext) -> Credential:
        """Request a pull secret from the token server; see :class:`regcred.registry.interface.Provider`."""
        what = f"{definition.token_host}: creating a pull secret"
        answer = transport.send(
            "POST",
            _url(definition),
            auth=_identity(definition, context),
            document={
                "project": context.reference.project,
                "repositories": list(definition.scopes()),
                "expires_in": definition.lifetime_seconds,
            },
        )
        fields = transport.expect(answer, what=what, remedy=_REMEDY, ok=(201,)).fields(what=what)
        login = Login(
            transport.text_field(fields, "username", what=what),
            SecretStr(transport.text_field(fields, "password", what=what)),
            definition.keys([definition.host]),
        )
        return Credential(
            provider=self.name,
            logins=(login,),
            issued_at=context.now(),
            expires_at=at_time(fields, "expires_at", what=what),
            revocation_id=transport.text_field(fields, "id", what=what),
        )

    def revoke(self, definition: SystemDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Delete the pull secret."""
        answer = transport.send(
            "DELETE",
            f"{_url(definition)}/{issued.revocation_id}?project={context.reference.project}",
            auth=_identity(definition, context),
        )
        what = f"{definition.token_host}: deleting a pull secret"
        transport.expect(answer, what=what, remedy=_REMEDY, ok=(200, 204, 404))
        return Revoked.YES


def _url(definition: SystemDefinition) -> str:
    return f"{transport.origin(definition.token_host)}/v1/credentials"


def _identity(definition: SystemDefinition, context: MintContext) -> Bearer:
    audience = transport.origin(definition.token_host)
    return Bearer(context.identity.web_identity_token(audience, ASSERTION_LIFETIME))
