r"""JFrog Artifactory: keyless by the project's AWS role or identity token, or by an administrator's token.

Contracts: JFrog's own operator (github.com/jfrog/jfrog-registry-operator, internal/handler and
internal/sign), the OIDC exchange of github.com/jfrog/setup-jfrog-cli,
https://docs.jfrog.com/administration/reference/createtoken and, in JFrog's REST documentation, "PUT AWS IAM
role", "Revoke Token by ID" and "Use the Revocable and Persistency Thresholds".

This file relies on these facts from them:

- The proof of an AWS role is a ``GetCallerIdentity`` request, signed by SigV4A for all regions, with four
  signed headers.
- JFrog maps only roles that match ``^arn:aws:iam::\d{12}:role/[\w+=,.@:-]+$``: without a path, in the
  commercial partition.
- A token with a lifetime below ``revocable-expiry-threshold`` (6 hours by default) can be revoked only if it
  was created with ``force_revocable`` (7.50.3). A revocation returns 200, or 204 if the token was already
  revoked. A 404 is no success, because tokens below ``persistent-expiry-threshold`` are not stored. From
  7.53.1, a token's holder can revoke it by the ID ``me``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from shlex import quote
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote as quote_url

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential, Login
from regcred.registry import sigv4a, transport
from regcred.registry.definition import (
    Audience,
    BaseDefinition,
    Host,
    NonEmpty,
    Server,
    matching,
    require,
    require_own_audience,
    server_host,
)
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.token_expiry import after_seconds, claims
from regcred.registry.transport import Answer, Bearer
from regcred.registry.trust import SUBJECT_NOTE, ProjectRole, document
from regcred.registry.upstream_secret import field_of

ASSERTION_LIFETIME = timedelta(minutes=10)


SCOPE_MAX = 500
"""The maximum length of a token's scope in characters."""

CALLER_IDENTITY_URL = "https://sts.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15"
"""The request that is signed as a proof of identity. JFrog sends it to AWS."""

Group = Annotated[
    str,
    matching(
        r'[^",\\\x00-\x1f]{1,255}',
        "the name of a group: no quotation mark, comma, backslash or control character",
    ),
]
"""The name of a group, which is quoted in a token's scope."""


class ArtifactoryDefinition(BaseDefinition):
    """Docker repositories of one JFrog platform."""

    summary: ClassVar[str] = (
        "JFrog Artifactory: keyless with the project's AWS role or identity token, or with an "
        "administrator's token"
    )

    provider: Literal["artifactory"]

    platform: Server = Field(
        description=(
            "The JFrog platform, which creates the tokens, as in example.jfrog.io. Add the path if a proxy "
            "adds one (example.com/jfrog)."
        )
    )

    hosts: Annotated[tuple[Host, ...], NonEmpty] = Field(
        description=(
            "The hosts in image names: the platform's host (example.jfrog.io), one host per repository "
            "(example-docker.jfrog.io, docker.example.com), or a host with a port (example.com:8443)."
        )
    )

    auth: Literal["aws", "oidc", "token"] = Field(
        default="aws",
        description=(
            "'aws': keyless, with the project's IAM role. 'oidc': keyless, with the role's signed identity "
            "token. 'token': an administrator's token in the upstream secret creates short-lived tokens."
        ),
    )

    oidc_provider: Annotated[
        str,
        matching(
            r"[a-z][a-z0-9-]{1,254}",
            "the name of an OIDC integration: a lower-case letter, then lower-case letters, digits and -",
        ),
    ] = Field(default="", description="The name of the OIDC integration, for 'auth: oidc'.")

    audience: Audience = Field(
        default="",
        description=(
            "The audience that the OIDC integration requires, on the platform's host. Empty: https:// and "
            "the platform."
        ),
    )

    username: Annotated[
        str, matching(r"[A-Za-z0-9][A-Za-z0-9._@+$-]{0,254}", "a user name of at most 255 characters")
    ] = Field(
        default="", description="The user name in the tokens, for 'auth: token'. The user need not exist."
    )

    groups: tuple[Group, ...] = Field(
        default=(),
        description=(
            "The groups whose rights the tokens get, for 'auth: token'. Use groups that can only read."
        ),
    )

    lifetime_seconds: int = Field(
        default=21600,
        ge=600,
        le=31536000,
        description=(
            "The lifetime of a token in seconds. A keyless token with a lifetime under 6 hours (JFrog's "
            "revocable-expiry-threshold) can't be revoked."
        ),
    )

    @model_validator(mode="after")
    def _complete(self) -> ArtifactoryDefinition:
        needs = {"aws": (), "oidc": ("oidc_provider",), "token": ("username", "groups")}[self.auth]
        require(self, *needs, by=f"auth: {self.auth}")
        require_own_audience(self.audience, server_host(self.platform))
        if len(self.scope()) > SCOPE_MAX:
            raise ValueError(
                f"groups: their scope has {len(self.scope())} characters, but JFrog allows {SCOPE_MAX}; "
                "name fewer groups"
            )
        return self

    def scope(self) -> str:
        """The scope of a token with the rights of the groups."""
        return "applied-permissions/groups:" + ",".join(f'"{group}"' for group in self.groups)

    def typed_hosts(self) -> tuple[str, ...]:
        """The platform and the hosts in image names: all of them receive tokens."""
        return tuple(dict.fromkeys((server_host(self.platform), *self.hosts)))

    def realms(self) -> tuple[str, ...]:
        """The platform, which may be the token service of its other hosts."""
        return (server_host(self.platform),)

    def trust(self, role: ProjectRole) -> str:
        """The mapping of the project's role to a user."""
        api = f"https://{self.platform}/access/api/v1"
        curl = (
            "curl --fail --header 'Content-Type: application/json' --header \"Authorization: Bearer "
            '$ADMIN_TOKEN"'
        )
        if self.auth == "aws":
            return self._role_mapping(role, f"{curl} --request PUT {quote(f'{api}/aws/iam_role')}")
        if self.auth == "token":
            return ""
        provider = {
            "name": self.oidc_provider,
            "issuer_url": role.issuer_or_name,
            "provider_type": "Generic OpenID Connect",
            "audience": self.expected_audience(),
        }
        mappings = f"{curl} --request POST {quote(f'{api}/oidc/{self.oidc_provider}/identity_mappings')}"
        lines = [
            f"{mappings} --data {quote(document(self._mapping(role, priority, subject)))}"
            for priority, subject in enumerate(role.subjects, 1)
        ]
        return f"""{curl} --request POST {quote(f"{api}/oidc")} --data {quote(document(provider))}
{chr(10).join(lines)}
# PULL_USER: a user that may only read.
{SUBJECT_NOTE}{role.identity_note(self.expected_audience())}"""

    def expected_audience(self) -> str:
        """The audience that the OIDC integration expects."""
        return self.audience or f"https://{self.platform}"

    @staticmethod
    def _role_mapping(role: ProjectRole, request: str) -> str:
        if role.partition != "aws":
            return (
                "# JFrog maps only roles of AWS's commercial partition, and this role is in "
                f"{role.partition}: use 'auth: oidc'.\n"
            )
        body = document({"username": "PULL_USER", "iam_role": role.plain_role_arn})
        return (
            f"{request} --data {quote(body)}\n# PULL_USER: a user that may only read.\n"
            "# JFrog requires the ARN without the role's path.\n"
        )

    def _mapping(self, role: ProjectRole, priority: int, subject: str) -> dict[str, Any]:
        return {
            "name": f"regcred-{role.project}-{priority}",
            "priority": priority,
            "claims": {"sub": subject},
            "token_spec": {
                "username": "PULL_USER",
                "scope": "applied-permissions/user",
                "expires_in": self.lifetime_seconds,
            },
        }

    def upstream_fields(self) -> dict[str, str]:
        """The administrator's token, if one is used."""
        return {"token": "an access token that may create tokens"} if self.auth == "token" else {}


class ArtifactoryProvider:
    """Mints one token for all hosts."""

    name = "artifactory"
    model = ArtifactoryDefinition

    def mint(self, definition: ArtifactoryDefinition, context: MintContext) -> Credential:
        """Fetch a token; see :class:`regcred.registry.interface.Provider`."""
        what = f"{definition.platform}: creating a token"
        answer, remedy = _TOKEN_REQUESTS[definition.auth](definition, context)
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
        """Revoke the token by its ID with an administrator's token, or as its holder."""
        what = f"{definition.platform}: revoking a token"
        if definition.auth == "token" and issued.revocation_id:
            answer = transport.send(
                "DELETE",
                f"{_api(definition)}/tokens/{quote_url(issued.revocation_id, safe='')}",
                auth=Bearer(field_of(context, "token")),
            )
            remedy = "check the upstream secret's token"
            if transport.expect(answer, what=what, remedy=remedy, ok=(200, 204, 404)).status in _REVOKED:
                return Revoked.YES
        if issued.password is None:
            return Revoked.UNSUPPORTED
        answer = transport.send("DELETE", f"{_api(definition)}/tokens/me", auth=Bearer(issued.password))
        if answer.status in _NOT_REVOCABLE:
            return Revoked.UNSUPPORTED
        # A 401 means that the token is already refused, which is the wanted result.
        transport.expect(answer, what=what, remedy="revoke it in JFrog's list of tokens", ok=(*_REVOKED, 401))
        return Revoked.YES


_REVOKED = (200, 204)
_NOT_REVOCABLE = frozenset({400, 403, 404, 405})
"""Another instance created the token, it is not stored, or this version does not support ``me``."""


def _api(definition: ArtifactoryDefinition) -> str:
    return f"{transport.origin(definition.platform)}/access/api/v1"


def _username(definition: ArtifactoryDefinition, fields: Mapping[str, Any], token: SecretStr) -> str:
    """The user name: from the response, or the last part of the token's subject (``…/users/NAME``)."""
    subject = str((claims(token) or {}).get("sub") or "")
    return str(fields.get("username") or "") or definition.username or subject.rpartition("/")[2]


def _by_aws(definition: ArtifactoryDefinition, context: MintContext) -> tuple[Answer, str]:
    answer = transport.send(
        "POST",
        f"{_api(definition)}/aws/token",
        headers=sigv4a.signed(CALLER_IDENTITY_URL, context.identity.aws(), service="sts", now=context.now()),
        document={"expires_in": definition.lifetime_seconds},
    )
    return (
        answer,
        "map this project's IAM role, written without its path, to a user: PUT /access/api/v1/aws/iam_role",
    )


def _by_oidc(definition: ArtifactoryDefinition, context: MintContext) -> tuple[Answer, str]:
    audience = definition.expected_audience()
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
            "scope": definition.scope(),
            "expires_in": definition.lifetime_seconds,
            "refreshable": False,
            "force_revocable": True,
            "description": f"Pulls of {context.reference}, created by Regcred",
        },
    )
    return answer, "check that the upstream secret's token may create tokens"


_TOKEN_REQUESTS = {"aws": _by_aws, "oidc": _by_oidc, "token": _by_token}
