"""Alibaba Cloud Container Registry, Enterprise Edition: keyless by a RAM role, or by an access key.

Contracts: ``cr:GetAuthorizationToken`` (2018-12-01), ``sts:AssumeRoleWithOIDC`` (2015-04-01) and signature V3
(https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature). A login has
the permissions of its creator, so give the role or user only permissions to pull. With a role, a login is
valid as long as the role's session.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential, Login
from regcred.errors import MalformedError
from regcred.registry import transport
from regcred.registry.definition import BaseDefinition, matching, require
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.token_expiry import at_timestamp
from regcred.registry.transport import Answer
from regcred.registry.trust import SUBJECT_NOTE, ProjectRole, document
from regcred.registry.upstream_secret import field_of

ALGORITHM = "ACS3-HMAC-SHA256"
ASSERTION_LIFETIME = timedelta(minutes=10)
AUDIENCE = "sts.aliyuncs.com"
POLICY_MAX = 2048
"""The maximum length of a session policy in characters
(https://www.alibabacloud.com/help/en/ram/developer-reference/api-sts-2015-04-01-assumerolewithoidc;
github.com/aliyun/alibabacloud-python-sdk, sts-20150401/.../_assume_role_with_oidcrequest.py). Older pages say
1024."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,62}")
_INSTANCE = re.compile(r"cri-[a-z0-9]+")
_REGION = re.compile(r"[a-z]{2,6}-[a-z]+(-[a-z0-9]+){0,3}")
"""Including the finance and government clouds: ``cn-shanghai-finance-1``, ``cn-north-2-gov-1``,
``cn-qingdao-et2-bo1`` (endpoint maps of github.com/aliyun/alibabacloud-python-sdk; and
https://www.alibabacloud.com/help/en/ecs/developer-reference/api-ecs-2014-05-26-describeregions)."""
_ARN = re.compile(r"acs:ram::(\d+):(?:role|oidc-provider)/[A-Za-z0-9._-]+")
"""Source for the names of roles: https://www.alibabacloud.com/help/en/resource-management/api-createrole."""


class AlibabaDefinition(BaseDefinition):
    """One instance of the Enterprise Edition."""

    summary: ClassVar[str] = (
        "Alibaba Cloud Container Registry Enterprise Edition: keyless with a RAM role, or with an access key"
    )

    provider: Literal["alibaba"]

    region: Annotated[str, matching(_REGION.pattern, "of the right form; write it as in eu-central-1")] = (
        Field(description="The region of the instance.")
    )

    instance_id: Annotated[
        str, matching(_INSTANCE.pattern, "of the right form; write it as in cri-0123456789abcdef")
    ] = Field(description="The ID of the instance.")

    instance_name: Annotated[str, matching(_NAME.pattern, "of the right form; write it as in example")] = (
        Field(description="The name of the instance. It is the first part of its hosts.")
    )

    vpc: bool = Field(
        default=False,
        description="Also cover image names with the host inside Alibaba's network (…-registry-vpc.…).",
    )

    auth: Literal["federated", "key"] = Field(
        default="federated",
        description=(
            "'federated': keyless, by a RAM role that trusts the project's role. 'key': an access key of a "
            "RAM user."
        ),
    )

    role_arn: Annotated[
        str,
        matching(
            _ARN.pattern, "of the right form; write it as in acs:ram::1234567890123456:role/regcred-pull"
        ),
    ] = Field(default="", description="The RAM role to assume.")

    oidc_provider_arn: Annotated[
        str,
        matching(
            _ARN.pattern, "of the right form; write it as in acs:ram::1234567890123456:oidc-provider/regcred"
        ),
    ] = Field(default="", description="The OIDC identity provider in RAM that knows the project's issuer.")

    session_seconds: int = Field(
        default=3600,
        ge=900,
        le=43200,
        description="The lifetime of the role's session, and of the login, in seconds.",
    )

    @model_validator(mode="after")
    def _complete(self) -> AlibabaDefinition:
        if self.auth == "federated":
            require(self, "role_arn", "oidc_provider_arn", by="auth: federated")
        return self

    def accounts(self) -> tuple[str, ...]:
        """The account of the role."""
        match = _ARN.fullmatch(self.role_arn)
        return (match[1],) if match else ()

    def trust(self, role: ProjectRole) -> str:
        """The role's trust in the OIDC provider, and its permissions."""
        if self.auth == "key":
            return ""
        condition: dict[str, Any] = {
            "oidc:iss": role.issuer_or_name,
            "oidc:aud": AUDIENCE,
            "oidc:sub": list(role.subjects),
        }
        trusted = {
            "Version": "1",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": "sts:AssumeRole",
                    "Principal": {"Federated": [self.oidc_provider_arn]},
                    "Condition": {"StringEquals": condition},
                }
            ],
        }
        provider = (
            f"OIDC provider {self.oidc_provider_arn}: issuer {role.issuer_or_name}, client id {AUDIENCE}"
        )
        return f"""{provider}.

Trust policy of {self.role_arn}:
{document(trusted)}

Its permissions:
{document(self._permissions())}
{SUBJECT_NOTE}{role.identity_note(AUDIENCE)}"""

    def _permissions(self) -> dict[str, Any]:
        """The permissions to pull only the repositories (https://www.alibabacloud.com/help/doc-detail/144948.htm)."""
        instance = f"acs:cr:{self.region}:*:repository/{self.instance_id}"
        pulled = [f"{instance}/{scope}{'*' if scope.endswith('/') else ''}" for scope in self.scopes()]
        return {
            "Version": "1",
            "Statement": [
                {"Effect": "Allow", "Action": "cr:GetAuthorizationToken", "Resource": "*"},
                {"Effect": "Allow", "Action": "cr:PullRepository", "Resource": pulled or [f"{instance}/*"]},
            ],
        }

    def session_policy(self) -> str:
        """The policy that restricts the role's session to pulling the repositories, whatever the role may do.

        Raises:
            MalformedError: It is longer than AssumeRoleWithOIDC allows (parameter ``Policy``).
        """
        text = json.dumps(self._permissions(), separators=(",", ":"))
        if len(text) > POLICY_MAX:
            raise MalformedError(
                f"repositories: their session policy has {len(text)} characters, but Alibaba Cloud allows "
                f"{POLICY_MAX}; name fewer, or prefixes that end in '/'",
                field="repositories",
            )
        return text

    def typed_hosts(self) -> tuple[str, ...]:
        """The instance's hosts if a key is used, because then no identity ties the login to the project."""
        return self.hosts() if self.auth == "key" else ()

    def upstream_fields(self) -> dict[str, str]:
        """The access key, if one is used."""
        if self.auth == "federated":
            return {}
        return {"access_key_id": "a RAM user's access key id", "access_key_secret": "its secret"}

    def hosts(self) -> tuple[str, ...]:
        """The hosts in image names."""
        networks = ("registry", "registry-vpc") if self.vpc else ("registry",)
        return tuple(f"{self.instance_name}-{network}.{self.region}.cr.aliyuncs.com" for network in networks)

    def realms(self) -> tuple[str, ...]:
        """Alibaba's token service for the region."""
        return (f"dockerauth-ee.{self.region}.aliyuncs.com", f"dockerauth.{self.region}.aliyuncs.com")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """The credentials that sign requests."""

    id: str
    secret: SecretStr
    session_token: SecretStr | None = None


class AlibabaProvider:
    """Mints a temporary login."""

    name = "alibaba"
    model = AlibabaDefinition

    def mint(self, definition: AlibabaDefinition, context: MintContext) -> Credential:
        """Fetch a login; see :class:`regcred.registry.interface.Provider`."""
        key = _key(definition, context)
        host = f"cr.{definition.region}.aliyuncs.com"
        what = f"Alibaba Cloud: creating a login for {definition.instance_id}"
        query = (("InstanceId", definition.instance_id),)
        headers = signed_headers(
            key,
            host=host,
            action="GetAuthorizationToken",
            version="2018-12-01",
            query=query,
            now=context.now(),
        )
        answer = transport.send("POST", f"https://{host}/", headers=headers, query=query)
        remedy = "allow cr:GetAuthorizationToken and cr:PullRepository, but no push"
        fields = transport.expect(answer, what=what, remedy=remedy).fields(what=what)
        login = Login(
            transport.text_field(fields, "TempUsername", what=what),
            SecretStr(transport.text_field(fields, "AuthorizationToken", what=what)),
            definition.keys(definition.hosts()),
        )
        return Credential(
            provider=self.name,
            logins=(login,),
            issued_at=context.now(),
            expires_at=at_timestamp(fields, "ExpireTime", what=what, unit=0.001),
        )

    def revoke(
        self, definition: AlibabaDefinition, issued: IssuedCredential, context: MintContext
    ) -> Revoked:
        """Do nothing: Alibaba Cloud can't revoke a temporary login."""
        return Revoked.UNSUPPORTED


def _key(definition: AlibabaDefinition, context: MintContext) -> AccessKey:
    if definition.auth == "key":
        key_id = field_of(context, "access_key_id").get_secret_value()
        return AccessKey(key_id, field_of(context, "access_key_secret"))
    what = f"Alibaba Cloud: assuming {definition.role_arn}"
    remedy = f"let the role trust {definition.oidc_provider_arn} for this project's role"
    fields = transport.expect(_assume(definition, context), what=what, remedy=remedy).fields(what=what)
    found = fields.get("Credentials")
    found = found if isinstance(found, dict) else {}
    return AccessKey(
        transport.text_field(found, "AccessKeyId", what=what),
        SecretStr(transport.text_field(found, "AccessKeySecret", what=what)),
        SecretStr(transport.text_field(found, "SecurityToken", what=what)),
    )


def _assume(definition: AlibabaDefinition, context: MintContext) -> Answer:
    """Assume the role. This call has no signature, because the identity token identifies the caller."""
    return transport.send(
        "POST",
        "https://sts.aliyuncs.com/",
        headers={
            "x-acs-action": "AssumeRoleWithOIDC",
            "x-acs-version": "2015-04-01",
            "x-acs-date": context.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x-acs-signature-nonce": secrets.token_hex(16),
        },
        form=[
            ("OIDCProviderArn", definition.oidc_provider_arn),
            ("RoleArn", definition.role_arn),
            ("RoleSessionName", f"regcred-{context.reference.project}"[:64]),
            ("DurationSeconds", str(definition.session_seconds)),
            ("Policy", definition.session_policy()),
            (
                "OIDCToken",
                context.identity.web_identity_token(AUDIENCE, ASSERTION_LIFETIME).get_secret_value(),
            ),
        ],
    )


def signed_headers(
    key: AccessKey, *, host: str, action: str, version: str, query: tuple[tuple[str, str], ...], now: datetime
) -> dict[str, str]:
    """The headers of a POST without a body, with signature V3."""
    digest = hashlib.sha256(b"").hexdigest()
    headers = {
        "host": host,
        "x-acs-action": action,
        "x-acs-content-sha256": digest,
        "x-acs-date": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": secrets.token_hex(16),
        "x-acs-version": version,
    }
    if key.session_token is not None:
        headers["x-acs-security-token"] = key.session_token.get_secret_value()
    names = sorted(headers)
    canonical = "\n".join(
        [
            "POST",
            "/",
            "&".join(
                f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query)
            ),
            *(f"{name}:{headers[name]}" for name in names),
            "",
            ";".join(names),
            digest,
        ]
    )
    to_sign = f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(key.secret.get_secret_value().encode(), to_sign.encode(), "sha256").hexdigest()
    headers["Authorization"] = (
        f"{ALGORITHM} Credential={key.id},SignedHeaders={';'.join(names)},Signature={signature}"
    )
    return headers
