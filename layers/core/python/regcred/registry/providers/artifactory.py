"""JFrog Artifactory: keyless by the project's AWS role or its signed identity token, or an administrator's token.

Contracts: JFrog's own operator (github.com/jfrog/jfrog-registry-operator, internal/handler), the OIDC exchange of
github.com/jfrog/setup-jfrog-cli, and https://docs.jfrog.com/administration/reference/createtoken.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from shlex import quote
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential, Login
from regcred.registry import aws, transport
from regcred.registry.definition import Audience, BaseDefinition, Host, NonEmpty, require, written
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.tokens import after_seconds, claims
from regcred.registry.transport import Answer, Bearer
from regcred.registry.trust import Asker, document
from regcred.registry.upstream import field_of

ASSERTION_LIFETIME = timedelta(minutes=10)


class ArtifactoryDefinition(BaseDefinition):
    """Docker repositories of one JFrog platform."""

    provider: Literal["artifactory"]

    platform: Host
    """The host of the platform, which makes the tokens, as in example.jfrog.io."""

    hosts: Annotated[tuple[Host, ...], NonEmpty]
    """The hosts in image names: the platform's own (example.jfrog.io), one for each repository
    (example-docker.jfrog.io, docker.example.com), or a port (example.com:8443)."""

    auth: Literal["aws", "oidc", "token"] = "aws"
    """'aws': keyless, by the project's IAM role. 'oidc': keyless, by its signed identity token. 'token': an
    administrator's token in the upstream secret makes short-lived ones."""

    oidc_provider: Annotated[
        str, written(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", "the name of an OIDC integration, as in regcred")
    ] = ""
    """The name of the OIDC integration, for 'auth: oidc'."""

    audience: Audience = ""
    """The audience that the OIDC integration expects; empty: https:// and the platform."""

    username: str = ""
    """Whom the tokens are for, with 'auth: token'; need not exist as a user."""

    groups: tuple[str, ...] = ()
    """The groups whose rights the tokens have, with 'auth: token'; they should only read."""

    lifetime_seconds: int = Field(default=21600, ge=600, le=31536000)
    """How long a token shall live."""

    @model_validator(mode="after")
    def _complete(self) -> ArtifactoryDefinition:
        needs = {"aws": (), "oidc": ("oidc_provider",), "token": ("username", "groups")}[self.auth]
        require(self, *needs, by=f"auth: {self.auth}")
        return self

    def typed_hosts(self) -> tuple[str, ...]:
        """The platform and the hosts in image names: all of them receive tokens."""
        return tuple(dict.fromkeys((self.platform, *self.hosts)))

    def realms(self) -> tuple[str, ...]:
        """The platform may be the token service of its other hosts."""
        return (self.platform,)

    def trust(self, asker: Asker) -> str:
        """The mapping of the project's role to a user."""
        api = f"https://{self.platform}/access/api/v1"
        curl = "curl --fail --header 'Content-Type: application/json' --header \"Authorization: Bearer $ADMIN_TOKEN\""
        if self.auth == "aws":
            body = document({"username": "PULL_USER", "iam_role": asker.role_arn})
            return f"{curl} --request PUT {quote(f'{api}/aws/iam_role')} --data {quote(body)}\n# PULL_USER: a user that may only read.\n"
        if self.auth == "token":
            return ""
        audience = self.audience or f"https://{self.platform}"
        provider = {
            "name": self.oidc_provider,
            "issuer_url": asker.issuer_or_name,
            "provider_type": "Generic OpenID Connect",
            "audience": audience,
        }
        mapping = {
            "name": f"regcred-{asker.project}",
            "priority": 1,
            "claims": {"sub": asker.role_arn},
            "token_spec": {
                "username": "PULL_USER",
                "scope": "applied-permissions/user",
                "expires_in": self.lifetime_seconds,
            },
        }
        return f"""{curl} --request POST {quote(f"{api}/oidc")} --data {quote(document(provider))}
{curl} --request POST {quote(f"{api}/oidc/{self.oidc_provider}/identity_mappings")} --data {quote(document(mapping))}
# PULL_USER: a user that may only read.
{asker.identity_note(audience)}"""

    def upstream_fields(self) -> dict[str, str]:
        """The administrator's token, where one is used."""
        return {"token": "an access token that may create tokens"} if self.auth == "token" else {}


class ArtifactoryProvider:
    """Mints one token for all hosts."""

    name = "artifactory"
    model = ArtifactoryDefinition

    def mint(self, definition: ArtifactoryDefinition, context: MintContext) -> Credential:
        """Fetch a token; see :class:`regcred.registry.interface.Provider`."""
        what = f"{definition.platform}, asked for a token,"
        answer, remedy = _ASK[definition.auth](definition, context)
        fields = transport.expect(answer, what=what, remedy=remedy, ok=(200, 201)).fields(what=what)
        token = SecretStr(transport.text_field(fields, "access_token", what=what))
        return Credential(
            provider=self.name,
            logins=(Login(_username(definition, fields, token), token, definition.keys(definition.hosts)),),
            issued_at=context.now(),
            expires_at=after_seconds(fields, "expires_in", now=context.now(), what=what),
            revocation_id=str(fields.get("token_id") or ""),
        )

    def revoke(
        self, definition: ArtifactoryDefinition, issued: IssuedCredential, context: MintContext
    ) -> Revoked:
        """Revoke the token by its id, which only an administrator's token can."""
        if definition.auth != "token" or not issued.revocation_id:
            return Revoked.UNSUPPORTED
        answer = transport.send(
            "DELETE",
            f"{_api(definition)}/tokens/{issued.revocation_id}",
            auth=Bearer(field_of(context, "token")),
        )
        what = f"{definition.platform}, asked to revoke a token,"
        transport.expect(answer, what=what, remedy="check the upstream secret's token", ok=(200, 204, 404))
        return Revoked.YES


def _api(definition: ArtifactoryDefinition) -> str:
    return f"{transport.origin(definition.platform)}/access/api/v1"


def _username(definition: ArtifactoryDefinition, fields: Mapping[str, Any], token: SecretStr) -> str:
    """Who logs in: the answer's own, or the last part of the token's subject (``…/users/NAME``)."""
    subject = str((claims(token) or {}).get("sub") or "")
    return str(fields.get("username") or "") or definition.username or subject.rpartition("/")[2]


def _by_aws(definition: ArtifactoryDefinition, context: MintContext) -> tuple[Answer, str]:
    answer = transport.send(
        "POST",
        f"{_api(definition)}/aws/token",
        headers=aws.signed_caller_identity(context.identity.aws()),
        document={"expires_in": definition.lifetime_seconds},
    )
    return answer, "map this project's IAM role to a user: PUT /access/api/v1/aws/iam_role"


def _by_oidc(definition: ArtifactoryDefinition, context: MintContext) -> tuple[Answer, str]:
    audience = definition.audience or f"https://{definition.platform}"
    answer = transport.send(
        "POST",
        f"{_api(definition)}/oidc/token",
        document={
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "subject_token": context.identity.web_identity_token(
                audience, ASSERTION_LIFETIME
            ).get_secret_value(),
            "provider_name": definition.oidc_provider,
        },
    )
    return (
        answer,
        f"give the OIDC integration {definition.oidc_provider!r} an identity mapping for this project's role",
    )


def _by_token(definition: ArtifactoryDefinition, context: MintContext) -> tuple[Answer, str]:
    answer = transport.send(
        "POST",
        f"{_api(definition)}/tokens",
        auth=Bearer(field_of(context, "token")),
        document={
            "username": definition.username,
            "scope": f"applied-permissions/groups:{','.join(definition.groups)}",
            "expires_in": definition.lifetime_seconds,
            "refreshable": False,
            "description": f"Pulls of {context.reference}, made by Regcred",
        },
    )
    return answer, "check that the upstream secret's token may create tokens"


_ASK = {"aws": _by_aws, "oidc": _by_oidc, "token": _by_token}
