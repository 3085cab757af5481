"""Google: the token exchange for AWS identities, generateAccessToken, and Artifact Registry.

Sources: https://docs.cloud.google.com/iam/docs/workload-identity-federation-with-other-clouds (AWS),
https://docs.cloud.google.com/artifact-registry/docs/docker/authentication, and google-auth
(google/auth/aws.py) for the signed request. Requests and answers are also compared with the Discovery
documents (described.py).
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry, Rights
from fakes.vendors.vendor import PROJECT_ROLE, Vendor

PROVIDER = "projects/123456789/locations/global/workloadIdentityPools/regcred/providers/aws-main"
ACCOUNT = "puller@example-project.iam.gserviceaccount.com"
HOSTS = ("europe-west1-docker.pkg.dev", "gcr.io")


class GarFederated(Vendor):
    provider = "gar"
    variant = "federated"
    lifetime: ClassVar[timedelta | None] = timedelta(seconds=1800)
    keyless = True
    calls = r"POST (sts|iamcredentials)\.googleapis\.com"

    def install(self) -> None:
        self.network.add("sts.googleapis.com", self.exchange)
        self.network.add("iamcredentials.googleapis.com", self.impersonate)
        self.federated: dict[str, float] = {}
        self.may_push = False
        registry = OciRegistry(
            self.clock,
            realm="https://europe-west1-docker.pkg.dev/v2/token",
            service="europe-west1-docker.pkg.dev",
            readable=False,
            repositories=("example-project/team/app",),
        )
        registry.install(self.network, HOSTS[0])
        other = OciRegistry(
            self.clock,
            realm="https://gcr.io/v2/token",
            service="gcr.io",
            readable=False,
            repositories=registry.repositories,
        )
        other.logins = registry.logins
        other.install(self.network, HOSTS[1])
        self.registry = registry

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "gar",
            "hosts": list(HOSTS),
            "workload_identity_provider": PROVIDER,
            "service_account": ACCOUNT,
            "lifetime_seconds": 1800,
            "repositories": ["example-project/team/"],
            "probe": "example-project/team/app:1",
        }

    @property
    def hosts(self) -> tuple[str, ...]:
        return HOSTS

    def widen(self) -> None:
        self.may_push = True

    def exchange(self, request: Request) -> Response:
        if (request.method, request.path) != ("POST", "/v1/token"):
            return Response(404)
        form = request.form
        if form.get("audience") != f"//iam.googleapis.com/{PROVIDER}":
            return self._oauth("invalid_target")
        if (
            form.get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange"
            or form.get("subject_token_type") != "urn:ietf:params:aws:token-type:aws4_request"
            or form.get("requested_token_type") != "urn:ietf:params:oauth:token-type:access_token"
        ):
            return self._oauth("invalid_request")
        if self._role(form["subject_token"]) != PROJECT_ROLE:
            return self._oauth(
                "unauthorized_client", "The given credential is rejected by the attribute condition."
            )
        token = secrets.token_urlsafe(30)
        self.federated[token] = self.clock.time() + 3600
        self.exchanged(token, form.get("scope", ""))
        return Response(
            200,
            {
                "access_token": token,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": 3600,
            },
        )

    def exchanged(self, token: str, scope: str) -> None:
        """Give a federated token rights in the registry: none here, since it can only act as the service
        account."""

    def _role(self, subject_token: str) -> str | None:
        """The role that signed the GetCallerIdentity request in a subject token."""
        signed = json.loads(unquote(subject_token))
        headers = {item["key"]: item["value"] for item in signed["headers"]}
        parts = urlsplit(signed["url"])
        target = f"//iam.googleapis.com/{PROVIDER}"
        if headers.get("x-goog-cloud-target-resource") != target:  # google-auth adds it unsigned
            return None
        if not re.fullmatch(r"sts(\.[a-z0-9-]+)?\.amazonaws\.com", parts.netloc):
            return None
        query = parse_qsl(parts.query)
        if dict(query) != {"Action": "GetCallerIdentity", "Version": "2011-06-15"}:
            return None
        headers.setdefault("host", parts.netloc)
        request = Request(signed["method"], parts.netloc, parts.path, query, headers, b"")
        return self.aws.role_of(self.aws.authenticated(request, "sts"))

    def impersonate(self, request: Request) -> Response:
        scheme, _, token = request.header("Authorization").partition(" ")
        if scheme != "Bearer" or self.federated.get(token, 0) <= self.clock.time():
            return Response(401, {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "no"}})
        if request.method != "POST":
            return Response(404)
        if request.path != f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken":
            return Response(403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no"}})
        body = request.document
        lifetime = int(body["lifetime"].removesuffix("s"))
        if body["scope"] != ["https://www.googleapis.com/auth/cloud-platform"] or lifetime > 3600:
            return Response(400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "no"}})
        access = secrets.token_urlsafe(60)
        expires_at = int(self.clock.time()) + lifetime
        rights = Rights(pull=["*"], push=["*"] if self.may_push else [], expires_at=expires_at)
        self.registry.logins["oauth2accesstoken", access] = rights
        expire_time = datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Response(200, {"accessToken": access, "expireTime": expire_time})

    @staticmethod
    def _oauth(code: str, text: str = "no") -> Response:
        return Response(400, {"error": code, "error_description": text})


class GarKey(GarFederated):
    variant = "key"
    lifetime = None
    keyless = False
    calls = ""

    def install(self) -> None:
        super().install()
        self.key = {
            "type": "service_account",
            "private_key": "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n",
        }
        self.second = {**self.key, "private_key_id": "second"}
        self.registry.logins["_json_key", json.dumps(self.second, separators=(",", ":"))] = Rights(pull=["*"])
        compact = json.dumps(self.key, separators=(",", ":"))
        self.rights = self.registry.logins["_json_key", compact] = Rights(pull=["*"])

    @property
    def definition(self) -> Mapping[str, Any]:
        return {"provider": "gar", "auth": "key", "hosts": list(HOSTS), "probe": "example-project/team/app:1"}

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"key": json.dumps(self.key, indent=2) + "\n", "key_2": json.dumps(self.second)}

    def widen(self) -> None:
        self.rights.push.append("*")


class GarDirect(GarFederated):
    """The AWS role itself may read the repositories, without a service account."""

    variant = "direct"
    lifetime: ClassVar[timedelta | None] = timedelta(hours=1)
    calls = r"POST sts\.googleapis\.com"

    @property
    def definition(self) -> Mapping[str, Any]:
        left_out = {"service_account", "lifetime_seconds"}
        return {name: value for name, value in super().definition.items() if name not in left_out}

    def exchanged(self, token: str, scope: str) -> None:
        if scope == "https://www.googleapis.com/auth/cloud-platform":
            rights = Rights(pull=["*"], push=["*"] if self.may_push else [], expires_at=self.federated[token])
            self.registry.logins["oauth2accesstoken", token] = rights
