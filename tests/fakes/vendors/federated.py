"""Vendors that exchange the project's signed identity: JFrog, Quay, Cloudsmith, the system registry, GitHub Apps."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from fakes.vendors.aws import signing_key
from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry, Rights, basic_login
from fakes.vendors.vendor import PROJECT_ROLE, Vendor

_KEY = "a key of the stand-in, at least 32 bytes long"


class Minting(Vendor):
    """Registers what it mints as a login of its registry."""

    realm = ""
    service = "registry"
    readable = True
    registry_hosts: tuple[str, ...] = ()

    def install(self) -> None:
        self.may_push = False
        self.registry = OciRegistry(
            self.clock, realm=self.realm, service=self.service, readable=self.readable
        )
        for host in self.registry_hosts:
            self.network.add(host, self.answer)

    def answer(self, request: Request) -> Response:
        return self.api(request) or self.registry.handle(request)

    def api(self, request: Request) -> Response | None:
        """The vendor's own calls; None: none of them."""
        raise NotImplementedError

    def issue(self, username: str, seconds: float, *, pull: list[str] | None = None, **claims: Any) -> str:
        expires_at = int(self.clock.time() + seconds)
        token = jwt.encode(
            {"exp": expires_at, "jti": secrets.token_hex(8), **claims}, _KEY, algorithm="HS256"
        )
        self.registry.logins[username, token] = Rights(
            pull=pull or ["team/*"], push=["*"] if self.may_push else [], expires_at=expires_at
        )
        return token

    def trusted(self, token: str, audience: str) -> bool:
        return self.aws.check_identity_token(token, audience=audience, subject=PROJECT_ROLE)

    @property
    def hosts(self) -> tuple[str, ...]:
        return self.registry_hosts

    def widen(self) -> None:
        self.may_push = True


class JfrogAws(Minting):
    provider = "artifactory"
    variant = "aws"
    lifetime = timedelta(hours=6)
    keyless = True
    calls = r"POST example\.jfrog\.io/access/"
    realm = "https://example.jfrog.io/v2/token"
    service = "example.jfrog.io"
    registry_hosts = ("example.jfrog.io", "example-docker.jfrog.io")

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "artifactory",
            "platform": "example.jfrog.io",
            "hosts": ["example.jfrog.io", "example-docker.jfrog.io"],
            "repositories": ["team/"],
            "probe": "team/app:1",
            **self.auth(),
        }

    def auth(self) -> dict[str, Any]:
        return {}

    def api(self, request: Request) -> Response | None:
        if request.path != "/access/api/v1/aws/token":
            return None
        # JFrog sends the signed headers on to AWS as a GET without a body.
        query = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in {"host", "content-type"}
        }
        forwarded = Request(
            "GET", "sts.amazonaws.com", "/", query, {**headers, "Host": "sts.amazonaws.com"}, b""
        )
        if self.aws.role_of(self.aws.authenticated(forwarded, "sts")) != PROJECT_ROLE:
            return Response(403, {"errors": [{"code": "FORBIDDEN", "message": "no user is mapped"}]})
        seconds = request.document["expires_in"]
        return Response(
            200, {"username": "puller", "access_token": self.issue("puller", seconds), "expires_in": seconds}
        )


class JfrogOidc(JfrogAws):
    variant = "oidc"

    def auth(self) -> dict[str, Any]:
        return {"auth": "oidc", "oidc_provider": "regcred"}

    def api(self, request: Request) -> Response | None:
        if request.path != "/access/api/v1/oidc/token":
            return None
        body = request.document
        if (
            body["grant_type"] != "urn:ietf:params:oauth:grant-type:token-exchange"
            or body["subject_token_type"] != "urn:ietf:params:oauth:token-type:id_token"
            or body["provider_name"] != "regcred"
        ):
            return Response(400, {"errors": [{"code": "BAD_REQUEST"}]})
        if not self.trusted(body["subject_token"], "https://example.jfrog.io"):
            return Response(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        seconds = int(self.lifetime.total_seconds())
        token = self.issue("puller", seconds, sub="jfac@01abc/users/puller")
        return Response(200, {"access_token": token, "expires_in": seconds, "token_type": "Bearer"})


class JfrogToken(JfrogAws):
    variant = "token"
    keyless = False
    revocable = True

    def install(self) -> None:
        super().install()
        self.refused = False
        self.ids: dict[str, str] = {}

    def auth(self) -> dict[str, Any]:
        return {"auth": "token", "username": "puller", "groups": ["readers"]}

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"token": "an administrator's token"}

    def refuse(self) -> None:
        self.refused = True

    def api(self, request: Request) -> Response | None:
        if not request.path.startswith("/access/api/v1/tokens"):
            return None
        if self.refused or request.header("Authorization") != "Bearer an administrator's token":
            return Response(401, {"errors": [{"code": "UNAUTHORIZED", "message": "Invalid token"}]})
        if request.method == "DELETE":
            token = self.ids.pop(request.path.rpartition("/")[2], None)
            if token is None:
                return Response(404, {"errors": [{"code": "NOT_FOUND"}]})
            del self.registry.logins["puller", token]
            return Response(200)
        body = request.document
        assert body["scope"] == "applied-permissions/groups:readers"
        assert body["refreshable"] is False
        token, token_id = self.issue(body["username"], body["expires_in"]), secrets.token_hex(16)
        self.ids[token_id] = token
        answer = {
            "token_id": token_id,
            "access_token": token,
            "expires_in": body["expires_in"],
            "token_type": "Bearer",
        }
        return Response(200, answer)


class QuayFederated(Minting):
    provider = "quay"
    variant = "federated"
    lifetime = timedelta(hours=1)
    keyless = True
    calls = r"GET quay\.io/oauth2/"
    realm = "https://quay.io/v2/auth"
    service = "quay.io"
    registry_hosts = ("quay.io",)

    @property
    def definition(self) -> Mapping[str, Any]:
        return {"provider": "quay", "robot": "team+puller", "repositories": ["team/"], "probe": "team/app:1"}

    def api(self, request: Request) -> Response | None:
        if request.path != "/oauth2/federation/robot/token":
            return None
        login = basic_login(request)
        if login is None or login[0] != "team+puller" or not self.trusted(login[1], "https://quay.io"):
            return Response(401, {"message": "Robot does not exist or token is invalid"})
        return Response(200, {"token": self.issue("team+puller", 3600)})


class Cloudsmith(Minting):
    provider = "cloudsmith"
    lifetime = timedelta(hours=2)
    keyless = True
    calls = r"POST api\.cloudsmith\.io/openid/"
    registry_hosts = ("docker.cloudsmith.io",)
    realm = "https://docker.cloudsmith.io/token"

    def install(self) -> None:
        super().install()
        self.registry.repositories = ["team/images/app"]
        self.network.add("api.cloudsmith.io", self.answer)

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "cloudsmith",
            "organisation": "team",
            "service": "puller-x1",
            "probe": "team/images/app:1",
        }

    def api(self, request: Request) -> Response | None:
        if request.path != "/openid/team/":
            return None
        body = request.document
        if body["service_slug"] != "puller-x1" or not self.trusted(
            body["oidc_token"], "https://api.cloudsmith.io"
        ):
            return Response(401, {"detail": "Invalid OIDC token"})
        return Response(201, {"token": self.issue("token", 7200)})


class System(Minting):
    provider = "system"
    lifetime = timedelta(hours=12)
    keyless = True
    revocable = True
    calls = r"POST tokens\.example\.com/"
    realm = "https://tokens.example.com/token"
    registry_hosts = ("images.example.com",)

    def install(self) -> None:
        super().install()
        self.network.add("tokens.example.com", self.answer)
        self.ids: dict[str, tuple[str, str]] = {}

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "system",
            "host": "images.example.com",
            "token_host": "tokens.example.com",
            "repositories": ["team/"],
            "probe": "team/app:1",
        }

    def api(self, request: Request) -> Response | None:
        if not request.path.startswith("/v1/credentials"):
            return None
        if not self.trusted(
            request.header("Authorization").removeprefix("Bearer "), "https://tokens.example.com"
        ):
            return Response(401, {"error": "unknown_project"})
        if request.method == "DELETE":
            found = self.ids.pop(request.path.rpartition("/")[2], None)
            self.registry.logins.pop(found, None)
            return Response(204 if found else 404)
        body = request.document
        secret, secret_id = secrets.token_urlsafe(32), secrets.token_hex(8)
        expires_at = int(self.clock.time() + body["expires_in"])
        pull = [f"{scope}*" if scope.endswith("/") else scope for scope in body["repositories"]] or ["*"]
        rights = Rights(pull=pull, push=["*"] if self.may_push else [], expires_at=expires_at)
        self.registry.logins[f"payments.{secret_id}", secret] = rights
        self.ids[secret_id] = (f"payments.{secret_id}", secret)
        answer = {
            "id": secret_id,
            "username": f"payments.{secret_id}",
            "password": secret,
            "expires_at": datetime.fromtimestamp(expires_at, UTC).isoformat(),
        }
        return Response(201, answer)


class GhcrApp(Minting):
    provider = "ghcr"
    variant = "app"
    lifetime = timedelta(hours=1)
    calls = r"POST api\.github\.com/"
    realm = "https://ghcr.io/token"
    service = "ghcr.io"
    readable = False
    registry_hosts = ("ghcr.io",)

    def install(self) -> None:
        super().install()
        self.network.add("api.github.com", self.answer)
        self.refused = False
        self.key = signing_key()

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "ghcr",
            "auth": "app",
            "app_id": "12345",
            "installation_id": "678",
            "repositories": ["team/"],
            "probe": "team/app:1",
        }

    @property
    def upstream(self) -> Mapping[str, str]:
        pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        return {"private_key": pem.decode()}

    def refuse(self) -> None:
        self.refused = True

    def api(self, request: Request) -> Response | None:
        if request.host != "api.github.com":
            return None
        if request.path != "/app/installations/678/access_tokens":
            return Response(404, {"message": "Not Found"})
        try:
            claims = jwt.decode(
                request.header("Authorization").removeprefix("Bearer "),
                self.key.public_key(),
                algorithms=["RS256"],
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.PyJWTError:
            return Response(401, {"message": "A JSON web token could not be decoded"})
        now = self.clock.time()
        if self.refused or claims["iss"] != "12345":
            return Response(401, {"message": "Integration not found"})
        if claims["exp"] - claims["iat"] > 600 or claims["iat"] > now or not now < claims["exp"] <= now + 600:
            return Response(401, {"message": "'Expiration time' claim ('exp') is too far in the future"})
        assert request.document == {"permissions": {"packages": "read"}}
        token = f"ghs_{secrets.token_urlsafe(27)}"
        expires_at = int(now) + 3600
        self.registry.logins["x-access-token", token] = Rights(
            push=["*"] if self.may_push else [], expires_at=expires_at
        )
        answer = {
            "token": token,
            "expires_at": datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return Response(201, answer)
