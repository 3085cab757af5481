"""Cloudsmith: keyless, by a service account that trusts the project's role.

Contract: ``POST https://api.cloudsmith.io/openid/{org}/`` with an OIDC token and a service's slug
(https://docs.cloudsmith.com/authentication/openid-connect). The user name is ``token``.
"""

from __future__ import annotations

from datetime import timedelta
from shlex import quote
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr

from regcred.credential import Credential, Login
from regcred.registry import transport
from regcred.registry.definition import Audience, BaseDefinition, Host, matching
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.token_expiry import jwt_expiry
from regcred.registry.trust import SUBJECT_NOTE, ProjectRole, document

API = "https://api.cloudsmith.io"
USERNAME = "token"
HOST = "docker.cloudsmith.io"
ASSERTION_LIFETIME = timedelta(minutes=10)


Slug = Annotated[str, matching(r"[A-Za-z0-9_-]{1,128}", "a slug of Cloudsmith: letters, digits, '-' and '_'")]
"""Each slug in the API's description has ``format: slug`` and the pattern ``^[-a-zA-Z0-9_]+$``
(github.com/cloudsmith-io/cloudsmith-docs, src/generated/api-schema.json). It limits no length; 128 is our own
limit."""


class CloudsmithDefinition(BaseDefinition):
    """The images that a service account of an organisation may pull."""

    summary: ClassVar[str] = "Cloudsmith: keyless with a service account that trusts the project's role"

    provider: Literal["cloudsmith"]

    organisation: Slug = Field(
        description="The organisation (namespace). It is the first part of the path in image names."
    )

    service: Slug = Field(description="The slug of the service account. Give it read access only.")

    host: Host = Field(
        default=HOST, description="The registry's host in image names. Use the custom domain if there is one."
    )

    audience: Audience = Field(
        default=API,
        description=(
            "The audience of the identity token that the organisation's OIDC provider settings require."
        ),
    )

    def typed_hosts(self) -> tuple[str, ...]:
        """The custom domain, if there is one."""
        return () if self.host == HOST else (self.host,)

    def trust(self, role: ProjectRole) -> str:
        """The commands that create OIDC providers for the service account."""
        providers = "\n".join(
            f"""curl --fail --request POST {API}/orgs/{self.organisation}/openid-connect/ \\
  --header 'Content-Type: application/json' --header "X-Api-Key: $ORGANISATION_ADMIN_KEY" \\
  --data {quote(self._oidc(role, subject, number))}"""
            for number, subject in enumerate(role.subjects, 1)
        )
        return f"""{providers}
# The service account {self.service} may only read.
{SUBJECT_NOTE}{role.identity_note(self.audience)}"""

    def _oidc(self, role: ProjectRole, subject: str, number: int) -> str:
        return document(
            {
                "name": f"regcred-{role.project}" + (f"-{number}" if number > 1 else ""),
                "enabled": True,
                "provider_url": role.issuer_or_name,
                "service_accounts": [self.service],
                "claims": {"sub": subject, "aud": self.audience},
            }
        )

    def scopes(self) -> tuple[str, ...]:
        """The named repositories, or the whole organisation, because all organisations share one host."""
        return self.repositories or ((f"{self.organisation.lower()}/",) if self.host == HOST else ())


class CloudsmithProvider:
    """Mints a token of the service account."""

    name = "cloudsmith"
    model = CloudsmithDefinition

    def mint(self, definition: CloudsmithDefinition, context: MintContext) -> Credential:
        """Exchange the project's identity; see :class:`regcred.registry.interface.Provider`."""
        what = f"Cloudsmith: creating a token for {definition.service}"
        identity = context.identity.web_identity_token(definition.audience, ASSERTION_LIFETIME)
        answer = transport.send(
            "POST",
            f"{API}/openid/{definition.organisation}/",
            document={"oidc_token": identity.get_secret_value(), "service_slug": definition.service},
        )
        remedy = (
            f"add an OIDC provider to the organisation that maps this project's role to {definition.service}"
        )
        fields = transport.expect(answer, what=what, remedy=remedy, ok=(200, 201)).fields(what=what)
        token = SecretStr(transport.text_field(fields, "token", what=what))
        return Credential(
            provider=self.name,
            logins=(Login(USERNAME, token, definition.keys([definition.host])),),
            issued_at=context.now(),
            expires_at=jwt_expiry(token, what=what),
        )

    def revoke(
        self, definition: CloudsmithDefinition, issued: IssuedCredential, context: MintContext
    ) -> Revoked:
        """Do nothing: Cloudsmith can't revoke such a token."""
        return Revoked.UNSUPPORTED
