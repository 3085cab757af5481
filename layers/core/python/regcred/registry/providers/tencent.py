"""Tencent Container Registry, Enterprise Edition: keyless by a CAM role, or by an API key.

Contracts: ``tcr:CreateInstanceToken`` (https://www.tencentcloud.com/document/api/1051/45154),
``sts:AssumeRoleWithWebIdentity`` (2018-08-13) and signature TC3-HMAC-SHA256. Errors have the status 200 and a
code in ``Response.Error.Code``. A temporary login lives one hour, and has the permissions of its creator.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential, Login
from regcred.errors import MalformedError, RefusedError, TransientError
from regcred.registry import transport
from regcred.registry.definition import Audience, BaseDefinition, matching, require
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.token_expiry import at_timestamp
from regcred.registry.transport import Answer
from regcred.registry.trust import SUBJECT_NOTE, ProjectRole, document
from regcred.registry.upstream_secret import field_of

ALGORITHM = "TC3-HMAC-SHA256"
ASSERTION_LIFETIME = timedelta(minutes=10)
SESSION_SECONDS = 900
"""The duration of the role's session, which is needed for one call only."""

_REGION = re.compile(r"[a-z]{2,4}-[a-z]+(-[a-z0-9]+)?")
_INSTANCE = re.compile(r"tcr-[a-z0-9]+")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{3,48}")
_ROLE = re.compile(r"qcs::cam::uin/(\d+):(?:roleName/[A-Za-z0-9+=,.@_-]{1,128}|role/\d{1,20})")
"""A role by name or by ID (RoleArn in https://www.tencentcloud.com/document/product/1150/49456 and, for
accounts in China, https://cloud.tencent.com/document/api/1312/48197). Service roles are for Tencent's own
services, so their form is not accepted. Source for the names:
https://cloud.tencent.com/document/api/598/36225."""
_CODE_FORM = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,80}")
_CLOCK = "AuthFailure.SignatureExpire"
"""The error for a timestamp that differs by more than five minutes from Tencent's time."""
_TRANSIENT = ("RequestLimitExceeded", "InternalError", "ServiceUnavailable")


class TencentDefinition(BaseDefinition):
    """One instance of the Enterprise Edition."""

    summary: ClassVar[str] = (
        "Tencent Container Registry Enterprise Edition: keyless with a CAM role, or with an API key"
    )

    provider: Literal["tencent"]

    region: Annotated[str, matching(_REGION.pattern, "of the right form; write it as in eu-frankfurt")] = (
        Field(description="The region of the instance.")
    )

    instance_id: Annotated[
        str, matching(_INSTANCE.pattern, "of the right form; write it as in tcr-0123abcd")
    ] = Field(description="The ID of the instance.")

    instance_name: Annotated[str, matching(_NAME.pattern, "of the right form; write it as in example")] = (
        Field(description="The name of the instance. It is the first part of its host.")
    )

    international: bool = Field(
        default=False,
        description=(
            "The account belongs to Tencent Cloud International (tencentcloud.com), which has separate API "
            "hosts."
        ),
    )

    auth: Literal["federated", "key"] = Field(
        default="federated",
        description=(
            "'federated': keyless, by a CAM role that trusts the project's role. 'key': an API key of a "
            "sub-account."
        ),
    )

    role_arn: Annotated[
        str,
        matching(
            _ROLE.pattern,
            "of the right form; write it as in qcs::cam::uin/100000000001:roleName/regcred-pull",
        ),
    ] = Field(default="", description="The CAM role to assume.")

    identity_provider: Annotated[
        str, matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", "the name of an identity provider, as in regcred")
    ] = Field(
        default="",
        description="The name of the OIDC identity provider in CAM that knows the project's issuer.",
    )

    audience: Audience = Field(
        default="regcred",
        description="The client ID that the identity provider in CAM requires as the audience.",
    )

    @model_validator(mode="after")
    def _complete(self) -> TencentDefinition:
        if self.auth == "federated":
            require(self, "role_arn", "identity_provider", by="auth: federated")
        return self

    def accounts(self) -> tuple[str, ...]:
        """The account of the role."""
        match = _ROLE.fullmatch(self.role_arn)
        return (match[1],) if match else ()

    def trust(self, role: ProjectRole) -> str:
        """The role's trust in the identity provider, and its permissions."""
        if self.auth == "key":
            return ""
        uin = self.accounts()[0]
        provider = f"qcs::cam::uin/{uin}:oidc-provider/{self.identity_provider}"
        condition: dict[str, Any] = {
            "oidc:iss": role.issuer_or_name,
            "oidc:aud": self.audience,
            "oidc:sub": list(role.subjects),
        }
        trusted = {
            "version": "2.0",
            "statement": [
                {
                    "action": "name/sts:AssumeRoleWithWebIdentity",
                    "effect": "allow",
                    "principal": {"federated": [provider]},
                    "condition": {"string_equal": condition},
                }
            ],
        }
        return f"""Identity provider {provider}: issuer {role.issuer_or_name}, client id {self.audience}.

Trust policy of {self.role_arn}:
{document(trusted)}

Its permissions:
{document(self._permissions())}
{SUBJECT_NOTE}{role.identity_note(self.audience)}"""

    def _permissions(self) -> dict[str, Any]:
        """The permissions to pull only the repositories (https://www.tencentcloud.com/document/product/598/57160)."""
        instance = f"qcs::tcr:::repository/{self.instance_id}"
        pulled = [
            f"{instance}/{path}"
            for scope in self.scopes()
            for path in ([f"{scope}*"] if scope.endswith("/") else [scope, f"{scope}/*"])
        ]
        return {
            "version": "2.0",
            "statement": [
                {"effect": "allow", "action": ["tcr:CreateInstanceToken"], "resource": ["*"]},
                {
                    "effect": "allow",
                    "action": ["tcr:PullRepository"],
                    "resource": pulled or [f"{instance}/*"],
                },
            ],
        }

    def typed_hosts(self) -> tuple[str, ...]:
        """The instance's hosts if a key is used, because then no identity ties the login to the project."""
        return self.hosts() if self.auth == "key" else ()

    def upstream_fields(self) -> dict[str, str]:
        """The API key, if one is used."""
        if self.auth == "federated":
            return {}
        return {"secret_id": "a sub-account's SecretId", "secret_key": "its SecretKey"}

    def api_domain(self) -> str:
        """The domain of the API's hosts.

        Contract: https://www.tencentcloud.com/document/api/1051/45128 (``tcr.intl.tencentcloudapi.com``)
        """
        return "intl.tencentcloudapi.com" if self.international else "tencentcloudapi.com"

    def hosts(self) -> tuple[str, ...]:
        """The hosts in image names."""
        return (f"{self.instance_name}.tencentcloudcr.com",)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The credentials that sign requests."""

    id: str
    secret: SecretStr
    session_token: SecretStr | None = None


class TencentProvider:
    """Mints a temporary login."""

    name = "tencent"
    model = TencentDefinition

    def mint(self, definition: TencentDefinition, context: MintContext) -> Credential:
        """Fetch a login; see :class:`regcred.registry.interface.Provider`."""
        what = f"Tencent Cloud: creating a login for {definition.instance_id}"
        call = _Call(
            service="tcr",
            action="CreateInstanceToken",
            version="2019-09-24",
            parameters={"RegistryId": definition.instance_id, "TokenType": "temp"},
            region=definition.region,
            domain=definition.api_domain(),
            key=_key(definition, context),
        )
        remedy = "allow tcr:CreateInstanceToken and tcr:PullRepository, but no push"
        fields = _response(call, now=context.now(), what=what, remedy=remedy)
        login = Login(
            transport.text_field(fields, "Username", what=what),
            SecretStr(transport.text_field(fields, "Token", what=what)),
            definition.keys(definition.hosts()),
        )
        return Credential(
            provider=self.name,
            logins=(login,),
            issued_at=context.now(),
            expires_at=at_timestamp(fields, "ExpTime", what=what, unit=0.001),
        )

    def revoke(
        self, definition: TencentDefinition, issued: IssuedCredential, context: MintContext
    ) -> Revoked:
        """Do nothing: Tencent Cloud can only revoke long-term tokens."""
        return Revoked.UNSUPPORTED


def _key(definition: TencentDefinition, context: MintContext) -> ApiKey:
    if definition.auth == "key":
        return ApiKey(field_of(context, "secret_id").get_secret_value(), field_of(context, "secret_key"))
    what = f"Tencent Cloud: assuming {definition.role_arn}"
    identity = context.identity.web_identity_token(definition.audience, ASSERTION_LIFETIME)
    call = _Call(
        service="sts",
        action="AssumeRoleWithWebIdentity",
        version="2018-08-13",
        parameters={
            "ProviderId": definition.identity_provider,
            "WebIdentityToken": identity.get_secret_value(),
            "RoleArn": definition.role_arn,
            "RoleSessionName": f"regcred-{context.reference.project}"[:64],
            "DurationSeconds": SESSION_SECONDS,
        },
        region=definition.region,
        domain=definition.api_domain(),
        key=None,
    )
    remedy = (
        f"let the role trust the identity provider {definition.identity_provider!r} for this project's role"
    )
    fields = _response(call, now=context.now(), what=what, remedy=remedy)
    found = fields.get("Credentials")
    found = found if isinstance(found, dict) else {}
    return ApiKey(
        transport.text_field(found, "TmpSecretId", what=what),
        SecretStr(transport.text_field(found, "TmpSecretKey", what=what)),
        SecretStr(transport.text_field(found, "Token", what=what)),
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of Tencent's API. ``key`` is None if the parameters identify the caller."""

    service: str
    action: str
    version: str
    parameters: Mapping[str, Any] = field(repr=False)
    region: str
    domain: str
    key: ApiKey | None

    def send(self, now: datetime) -> Answer:
        """Sign the request with this time, and send it."""
        host = f"{self.service}.{self.domain}"
        body = json.dumps(self.parameters, separators=(",", ":"))
        key = self.key
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "X-TC-Action": self.action,
            "X-TC-Version": self.version,
            "X-TC-Region": self.region,
            "X-TC-Timestamp": str(int(now.timestamp())),
            "Authorization": "SKIP" if key is None else authorization(key, self.service, host, body, now),
        }
        if key is not None and key.session_token is not None:
            headers["X-TC-Token"] = key.session_token.get_secret_value()
        return transport.send("POST", f"https://{host}/", headers=headers, text=SecretStr(body))


def _response(call: _Call, *, now: datetime, what: str, remedy: str) -> dict[str, Any]:
    """Tencent's response. If our clock is wrong, the request is repeated with Tencent's time."""
    answer = call.send(now)
    fields = _fields(answer, what=what, remedy=remedy)
    theirs = transport.server_time(answer)
    if _code(fields) == _CLOCK and theirs is not None:
        fields = _fields(call.send(theirs), what=what, remedy=remedy)
    if "Error" in fields:
        raise _refusal(_code(fields), what, remedy)
    return fields


def _fields(answer: Answer, *, what: str, remedy: str) -> dict[str, Any]:
    fields = transport.expect(answer, what=what, remedy=remedy).fields(what=what).get("Response")
    if not isinstance(fields, dict):
        raise MalformedError(f"{what}: the response has no 'Response'", field="Response")
    return fields


def _code(fields: dict[str, Any]) -> str:
    error = fields.get("Error")
    return str(error.get("Code", "")) if isinstance(error, dict) else ""


def _refusal(code: str, what: str, remedy: str) -> RefusedError | TransientError:
    failure = f"{what} failed with {code if _CODE_FORM.fullmatch(code) else 'a refusal'}"
    if code.startswith(_TRANSIENT):
        return TransientError(f"{failure}; it will be retried")
    return RefusedError(f"{failure}; {remedy}")


def authorization(key: ApiKey, service: str, host: str, body: str, now: datetime) -> str:
    """The Authorization header of signature TC3-HMAC-SHA256."""
    day = now.astimezone(UTC).strftime("%Y-%m-%d")
    signed = "content-type;host"
    canonical = "\n".join(
        [
            "POST",
            "/",
            "",
            "content-type:application/json; charset=utf-8",
            f"host:{host}",
            "",
            signed,
            hashlib.sha256(body.encode()).hexdigest(),
        ]
    )
    scope = f"{day}/{service}/tc3_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{ALGORITHM}\n{int(now.timestamp())}\n{scope}\n{digest}"
    secret = f"TC3{key.secret.get_secret_value()}".encode()
    for part in (day, service, "tc3_request"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    signature = hmac.new(secret, to_sign.encode(), "sha256").hexdigest()
    return f"{ALGORITHM} Credential={key.id}/{scope}, SignedHeaders={signed}, Signature={signature}"
