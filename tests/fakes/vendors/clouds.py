"""Alibaba Cloud, Tencent Cloud and DigitalOcean: signatures, session tokens and error bodies as at the
vendors.

Sources: for Alibaba
https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature,
``AssumeRoleWithOIDC`` (2015-04-01) and ``GetAuthorizationToken`` (2018-12-01); for Tencent
https://www.tencentcloud.com/document/api/1051/45154 and its signature TC3-HMAC-SHA256; for DigitalOcean
https://docs.digitalocean.com/reference/api/reference/container-registries/ and github.com/digitalocean/doctl,
do/registry.go (``RevokeOAuthToken``).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry, Rights
from fakes.vendors.vendor import PROJECT_ROLE, Vendor

ROLE = "acs:ram::1234567890123456:role/regcred-pull"
OIDC = "acs:ram::1234567890123456:oidc-provider/regcred"
CAM_ROLE = "qcs::cam::uin/100000000001:roleName/regcred-pull"


class AlibabaFederated(Vendor):
    provider = "alibaba"
    variant = "federated"
    lifetime = timedelta(hours=1)
    keyless = True
    calls = r"POST (sts|cr\.eu-central-1)\.aliyuncs\.com"
    host = "example-registry.eu-central-1.cr.aliyuncs.com"

    def install(self) -> None:
        self.may_push = self.refused = False
        self.keys: dict[str, tuple[str, str | None, float]] = {
            "LTAI-user": ("user secret", None, float("inf"))
        }
        self.nonces: set[str] = set()
        self.policies: dict[str, str] = {}
        """The session policy of each access key."""
        self.policies_hold = True
        self.network.add("sts.aliyuncs.com", self.sts)
        self.network.add("cr.eu-central-1.aliyuncs.com", self.cr)
        realm = "https://dockerauth-ee.eu-central-1.aliyuncs.com/auth"
        self.registry = OciRegistry(self.clock, realm=realm)
        self.registry.install(self.network, self.host)
        self.network.add("dockerauth-ee.eu-central-1.aliyuncs.com", self.registry.token)

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "alibaba",
            "region": "eu-central-1",
            "instance_id": "cri-0123456789abcdef",
            "instance_name": "example",
            "role_arn": ROLE,
            "oidc_provider_arn": OIDC,
            "repositories": ["team/"],
            "probe": "team/app:1",
        }

    @property
    def hosts(self) -> tuple[str, ...]:
        return (self.host,)

    def widen(self) -> None:
        self.may_push = True
        self.policies_hold = False  # otherwise the session policy would still forbid a push

    def sts(self, request: Request) -> Response:
        if request.method not in {"GET", "POST"}:
            return Response(405, {"Code": "UnsupportedHTTPMethod", "RequestId": "1"})
        if (
            request.header("x-acs-action") != "AssumeRoleWithOIDC"
            or request.header("x-acs-version") != "2015-04-01"
        ):
            return Response(400, {"Code": "InvalidAction.NotFound", "RequestId": "1"})
        form = request.form
        trusted = self.aws.check_identity_token(
            form["OIDCToken"], audience="sts.aliyuncs.com", subject=PROJECT_ROLE
        )
        if not trusted or form["RoleArn"] != ROLE or form["OIDCProviderArn"] != OIDC:
            return Response(
                400,
                {"Code": "AuthenticationFail.NoPermission", "Message": form["OIDCToken"], "RequestId": "1"},
            )
        if len(form.get("Policy", "")) > 2048:
            return Response(400, {"Code": "InvalidParameter.PolicySize", "RequestId": "1"})
        seconds = int(form["DurationSeconds"])
        key, secret, token = f"STS.{secrets.token_hex(8)}", secrets.token_hex(20), secrets.token_urlsafe(60)
        self.keys[key] = (secret, token, self.clock.time() + seconds)
        self.policies[key] = form.get("Policy", "")
        credentials = {
            "AccessKeyId": key,
            "AccessKeySecret": secret,
            "SecurityToken": token,
            "Expiration": "…",
        }
        return Response(200, {"RequestId": "1", "Credentials": credentials})

    def cr(self, request: Request) -> Response:
        if (
            request.header("x-acs-action") != "GetAuthorizationToken"
            or request.header("x-acs-version") != "2018-12-01"
        ):
            return Response(400, {"Code": "InvalidAction.NotFound"})
        expires_at = self._signed(request)
        if isinstance(expires_at, str):
            return Response(403, {"Code": expires_at, "Message": "no", "RequestId": "1"})
        if dict(request.query) != {"InstanceId": "cri-0123456789abcdef"}:
            return Response(404, {"Code": "INSTANCE_NOT_EXIST"})
        password = secrets.token_urlsafe(40)
        ends = min(expires_at, self.clock.time() + 3600)
        key = request.header("Authorization").partition("Credential=")[2].partition(",")[0]
        narrowed = self.policies_hold and "cr:PushRepository" not in self.policies.get(
            key, "cr:PushRepository"
        )
        self.registry.logins["cr_temp_user", password] = Rights(
            push=["*"] if self.may_push and not narrowed else [], expires_at=ends
        )
        answer = {
            "RequestId": "1",
            "Code": "success",
            "IsSuccess": True,
            "TempUsername": "cr_temp_user",
            "AuthorizationToken": password,
            "ExpireTime": int(ends * 1000),
        }
        return Response(200, answer)

    def _signed(self, request: Request) -> float | str:
        """The time at which the caller's session ends, or an error code."""
        match = re.fullmatch(
            r"ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([^,]+),Signature=([0-9a-f]{64})",
            request.header("Authorization"),
        )
        found = self.keys.get(match[1]) if match else None
        if match is None or found is None or self.refused:
            return "InvalidAccessKeyId.NotFound"
        secret, token, expires_at = found
        if expires_at <= self.clock.time() or (token and request.header("x-acs-security-token") != token):
            return "InvalidSecurityToken.Expired"
        moment = datetime.strptime(request.header("x-acs-date"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        if (
            abs((moment - self.clock.now()).total_seconds()) > 900
            or request.header("x-acs-signature-nonce") in self.nonces
        ):
            return "SignatureNonceUsed"
        self.nonces.add(request.header("x-acs-signature-nonce"))
        names = match[2].split(";")
        needed = {
            "host",
            "x-acs-action",
            "x-acs-content-sha256",
            "x-acs-date",
            "x-acs-signature-nonce",
            "x-acs-version",
        }
        if (
            not needed <= set(names)
            or request.header("x-acs-content-sha256") != hashlib.sha256(request.body).hexdigest()
        ):
            return "IncompleteSignature"
        query = "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(request.query))
        lines = [f"{name}:{request.header(name).strip()}" for name in names]
        canonical = "\n".join(
            [
                request.method,
                request.path,
                query,
                *lines,
                "",
                match[2],
                hashlib.sha256(request.body).hexdigest(),
            ]
        )
        to_sign = f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        expected = hmac.new(secret.encode(), to_sign.encode(), "sha256").hexdigest()
        return expires_at if hmac.compare_digest(expected, match[3]) else "SignatureDoesNotMatch"


class AlibabaKey(AlibabaFederated):
    variant = "key"
    keyless = False

    @property
    def definition(self) -> Mapping[str, Any]:
        kept = {name: value for name, value in super().definition.items() if not name.endswith("_arn")}
        return {**kept, "auth": "key"}

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"access_key_id": "LTAI-user", "access_key_secret": "user secret"}

    def refuse(self) -> None:
        self.refused = True


class TencentFederated(Vendor):
    provider = "tencent"
    variant = "federated"
    lifetime = timedelta(hours=1)
    keyless = True
    calls = r"POST (sts|tcr)\.tencentcloudapi\.com"
    host = "example.tencentcloudcr.com"
    api_domain = "tencentcloudapi.com"

    def install(self) -> None:
        self.may_push = self.refused = False
        self.keys: dict[str, tuple[str, str | None]] = {"AKID-user": ("user secret", None)}
        self.network.add(f"sts.{self.api_domain}", self.sts)
        self.network.add(f"tcr.{self.api_domain}", self.tcr)
        self.registry = OciRegistry(self.clock, realm=f"https://{self.host}/service/token")
        self.registry.install(self.network, self.host)

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "tencent",
            "region": "eu-frankfurt",
            "instance_id": "tcr-0123abcd",
            "instance_name": "example",
            "role_arn": CAM_ROLE,
            "identity_provider": "regcred",
            "repositories": ["team/"],
            "probe": "team/app:1",
        }

    @property
    def hosts(self) -> tuple[str, ...]:
        return (self.host,)

    def widen(self) -> None:
        self.may_push = True

    @staticmethod
    def _error(code: str, text: str = "no") -> Response:
        return Response(200, {"Response": {"Error": {"Code": code, "Message": text}, "RequestId": "1"}})

    def sts(self, request: Request) -> Response:
        if request.method not in {"GET", "POST"}:
            return self._error("UnsupportedProtocol")
        body = request.document
        if (
            request.header("X-TC-Action") != "AssumeRoleWithWebIdentity"
            or request.header("X-TC-Version") != "2018-08-13"
        ):
            return self._error("InvalidAction")
        if request.header("Authorization") != "SKIP":
            return self._error("AuthFailure.InvalidAuthorization")
        trusted = self.aws.check_identity_token(
            body["WebIdentityToken"], audience="regcred", subject=PROJECT_ROLE
        )
        if not trusted or body["RoleArn"] != CAM_ROLE or body["ProviderId"] != "regcred":
            return self._error("InvalidParameter.WebIdentityTokenError", body["WebIdentityToken"])
        key, secret, token = f"AKID{secrets.token_hex(8)}", secrets.token_hex(16), secrets.token_urlsafe(60)
        self.keys[key] = (secret, token)
        credentials = {"TmpSecretId": key, "TmpSecretKey": secret, "Token": token}
        return Response(200, {"Response": {"Credentials": credentials, "RequestId": "1"}})

    def tcr(self, request: Request) -> Response:
        if (
            request.header("X-TC-Action") != "CreateInstanceToken"
            or request.header("X-TC-Version") != "2019-09-24"
        ):
            return self._error("InvalidAction")
        if code := self._refusal(request):
            return self._error(code)
        if request.document != {"RegistryId": "tcr-0123abcd", "TokenType": "temp"}:
            return self._error("ResourceNotFound")
        password = secrets.token_urlsafe(40)
        expires_at = self.clock.time() + 3600
        self.registry.logins["100000000001", password] = Rights(
            push=["*"] if self.may_push else [], expires_at=expires_at
        )
        fields = {
            "Username": "100000000001",
            "Token": password,
            "ExpTime": int(expires_at * 1000),
            "TokenId": None,
        }
        return Response(200, {"Response": {**fields, "RequestId": "1"}})

    def _refusal(self, request: Request) -> str:
        match = re.fullmatch(
            r"TC3-HMAC-SHA256 Credential=([^/]+)/([\d-]+)/tcr/tc3_request, "
            r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
            request.header("Authorization"),
        )
        found = self.keys.get(match[1]) if match else None
        if match is None or found is None or self.refused:
            return "AuthFailure.SecretIdNotFound"
        if found[1] and request.header("X-TC-Token") != found[1]:
            return "AuthFailure.TokenFailure"
        timestamp = request.header("X-TC-Timestamp")
        day = datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y-%m-%d")
        if abs(int(timestamp) - self.clock.time()) > 300:
            return "AuthFailure.SignatureExpire"
        lines = [f"{name}:{request.header(name).strip().lower()}" for name in match[3].split(";")]
        canonical = "\n".join(
            [request.method, "/", "", *lines, "", match[3], hashlib.sha256(request.body).hexdigest()]
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"TC3-HMAC-SHA256\n{timestamp}\n{day}/tcr/tc3_request\n{digest}"
        secret = f"TC3{found[0]}".encode()
        for part in (day, "tcr", "tc3_request"):
            secret = hmac.digest(secret, part.encode(), "sha256")
        expected = hmac.new(secret, to_sign.encode(), "sha256").hexdigest()
        return (
            ""
            if hmac.compare_digest(expected, match[4]) and match[2] == day
            else "AuthFailure.SignatureFailure"
        )


class TencentKey(TencentFederated):
    variant = "key"
    keyless = False

    @property
    def definition(self) -> Mapping[str, Any]:
        kept = {k: v for k, v in super().definition.items() if k not in {"role_arn", "identity_provider"}}
        return {**kept, "auth": "key"}

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"secret_id": "AKID-user", "secret_key": "user secret"}

    def refuse(self) -> None:
        self.refused = True


class TencentInternational(TencentFederated):
    """An account of tencentcloud.com, whose API has other host names."""

    variant = "international"
    api_domain = "intl.tencentcloudapi.com"
    calls = r"POST (sts|tcr)\.intl\.tencentcloudapi\.com"

    @property
    def definition(self) -> Mapping[str, Any]:
        return {**super().definition, "international": True}


class DigitalOcean(Vendor):
    provider = "digitalocean"
    lifetime = timedelta(hours=12)
    calls = r"GET api\.digitalocean\.com/v2/registries/"
    revocable = True

    def install(self) -> None:
        self.may_push = self.refused = False
        self.registry = OciRegistry(
            self.clock, realm="https://api.digitalocean.com/v2/registry/auth", repositories=("example/app",)
        )
        self.network.add("cloud.digitalocean.com", self.revoke)
        self.scopes = {"registry:read", "registry:update"}
        self.registry.install(self.network, "registry.digitalocean.com")
        self.network.add("api.digitalocean.com", self.api)

    @property
    def definition(self) -> Mapping[str, Any]:
        return {"provider": "digitalocean", "registry": "example", "probe": "example/app:1"}

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"token": "dop_v1_a token"}

    @property
    def hosts(self) -> tuple[str, ...]:
        return ("registry.digitalocean.com",)

    def widen(self) -> None:
        self.may_push = True

    def refuse(self) -> None:
        self.refused = True

    def revoke(self, request: Request) -> Response:
        """A token revokes itself; a revoked token is refused."""
        token = request.form.get("token", "")
        if (request.method, request.path) != ("POST", "/v1/oauth/revoke"):
            return Response(404, {"id": "not_found"})
        if request.header("Authorization") != f"Bearer {token}":
            return Response(401, {"id": "Unauthorized"})
        return (
            Response(200, {})
            if self.registry.logins.pop((token, token), None)
            else Response(401, {"id": "Unauthorized"})
        )

    def api(self, request: Request) -> Response:
        if request.path == "/v2/registry/auth":
            return self.registry.token(request)
        if (request.method, request.path) != ("GET", "/v2/registries/example/docker-credentials"):
            return Response(404, {"id": "not_found", "message": "no"})
        if self.refused or request.header("Authorization") != "Bearer dop_v1_a token":
            return Response(401, {"id": "Unauthorized", "message": "Unable to authenticate you"})
        if not {"registry:read", "registry:update"} <= self.scopes:
            return Response(403, {"id": "Forbidden", "message": "You are missing the required permission"})
        query = dict(request.query)
        assert query["read_write"] == "false"
        token = f"dop_v1_{secrets.token_hex(32)}"
        rights = Rights(
            pull=["example/*"],
            push=["*"] if self.may_push else [],
            expires_at=self.clock.time() + int(query["expiry_seconds"]),
        )
        self.registry.logins[token, token] = rights
        auth = b64encode(f"{token}:{token}".encode()).decode()
        return Response(200, {"auths": {"registry.digitalocean.com": {"auth": auth}}})
