"""Vendors that exchange a signed token for a credential: Quay, Chainguard, Cloudsmith, the system registry
and GitHub Apps."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from fakes.vendors.aws import ISSUER, signing_key
from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry, Rights, basic_login
from fakes.vendors.vendor import PROJECT_ROLE, Vendor

_KEY = "a key of the stand-in, at least 32 bytes long"


class Minting(Vendor):
    """A vendor that adds each credential that it creates to the logins of its registry."""

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
        """Answer a request to the vendor's own API; None if the request is for the registry."""
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


class QuayFederated(Minting):
    """Source: github.com/quay/quay, util/security/federated_robot_auth.py and endpoints/api/robot.py."""

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

    def install(self) -> None:
        super().install()
        self.federation = [{"issuer": ISSUER, "subject": PROJECT_ROLE}]

    def api(self, request: Request) -> Response | None:
        if request.path == "/api/v1/organization/team/robots/puller/federation":
            if request.method != "POST" or any(
                set(item) != {"issuer", "subject"} for item in request.document
            ):
                return Response(400, {"message": "Missing one or more required fields (issuer, subject)"})
            self.federation = request.document
            return Response(200, self.federation)
        if (request.method, request.path) != ("GET", "/oauth2/federation/robot/token"):
            return None
        login = basic_login(request)
        subjects = [item["subject"] for item in self.federation if item["issuer"] == ISSUER]
        # Quay does not check the audience, because its API stores no list of audiences
        # (endpoints/api/robot.py).
        if login is None or login[0] != "team+puller" or self.aws.identity_of(login[1]) not in subjects:
            return Response(400, {"message": "Token does not match robot"})
        return Response(200, {"token": self.issue("team+puller", 3600)})


class Chainguard(Minting):
    """Sources: Chainguard's guide for AWS
    (https://edu.chainguard.dev/chainguard/administration/assumable-ids/identity-examples/aws-identity-oidc/)
    and its pull secret updater (github.com/chainguard-dev/platform-examples, aws-auth)."""

    provider = "chainguard"
    lifetime = timedelta(hours=1)
    keyless = True
    calls = r"POST issuer\.enforce\.dev/"
    registry_hosts = ("cgr.dev",)
    realm = "https://cgr.dev/token"
    service = "cgr.dev"
    identity = "0123456789abcdef0123456789abcdef01234567/0123456789abcdef"

    def install(self) -> None:
        super().install()
        self.network.add("issuer.enforce.dev", self.answer)

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "chainguard",
            "identity": self.identity,
            "repositories": ["team/"],
            "probe": "team/app:1",
        }

    def api(self, request: Request) -> Response | None:
        if request.host != "issuer.enforce.dev":
            return None
        query = dict(request.query)
        if (request.method, request.path, query.get("aud")) != ("POST", "/sts/exchange", "cgr.dev"):
            return Response(404, {"code": 5, "message": "Not Found"})
        token = request.header("Authorization").removeprefix("Bearer ")
        if query.get("identity") != self.identity or not self.trusted(token, "https://issuer.enforce.dev"):
            return Response(401, {"code": 16, "message": "identity not found"})
        return Response(200, {"token": self.issue("_token", 3600)})


class Cloudsmith(Minting):
    """Source: https://docs.cloudsmith.com/authentication/openid-connect."""

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
        if (request.method, request.path) != ("POST", "/openid/team/"):
            return None
        body = request.document
        if body["service_slug"] != "puller-x1" or not self.trusted(
            body["oidc_token"], "https://api.cloudsmith.io"
        ):
            return Response(401, {"detail": "Invalid OIDC token"})
        return Response(201, {"token": self.issue("token", 7200)})


class System(Minting):
    """Source: :mod:`regcred.token.web`."""

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
        if request.method not in {"POST", "DELETE"} or not request.path.startswith("/v1/credentials"):
            return None
        if not self.trusted(
            request.header("Authorization").removeprefix("Bearer "), "https://tokens.example.com"
        ):
            return Response(401, {"error": "unknown_project"})
        if request.method == "DELETE":
            if dict(request.query).get("project") != "payments":
                return Response(400, {"errors": [{"code": "INVALID"}]})
            found = self.ids.pop(request.path.rpartition("/")[2], None)
            self.registry.logins.pop(found, None)
            return Response(204)
        body = request.document
        if body["project"] != "payments":
            return Response(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        secret, secret_id = secrets.token_urlsafe(32), secrets.token_hex(16)
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
    """Source: https://docs.github.com/rest/apps (installation access tokens, generating a JWT)."""

    provider = "ghcr"
    variant = "app"
    lifetime = timedelta(hours=1)
    calls = r"POST api\.github\.com/"
    realm = "https://ghcr.io/token"
    service = "ghcr.io"
    api_host = "api.github.com"
    api_path = ""
    revocable = True
    readable = False
    registry_hosts = ("ghcr.io",)

    def install(self) -> None:
        super().install()
        self.network.add(self.api_host, self.answer)
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
        if request.host != self.api_host:
            return None
        if request.method == "DELETE" and request.path == f"{self.api_path}/installation/token":
            login = ("x-access-token", request.header("Authorization").removeprefix("Bearer "))
            return Response(204 if self.registry.logins.pop(login, None) else 401)
        if (request.method, request.path) != ("POST", f"{self.api_path}/app/installations/678/access_tokens"):
            return Response(404, {"message": "Not Found"})
        return self._installation_token(request)

    def _installation_token(self, request: Request) -> Response:
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


class GhcrServer(GhcrApp):
    """GitHub Enterprise Server: its API has a path on its host, and its registry has a subdomain."""

    variant = "enterprise server"
    api_host = "github.example.com"
    api_path = "/api/v3"
    calls = r"POST github\.example\.com/api/v3/app/"
    realm = "https://containers.github.example.com/token"
    service = "containers.github.example.com"
    registry_hosts = ("containers.github.example.com",)

    @property
    def definition(self) -> Mapping[str, Any]:
        return {**super().definition, "server": "github.example.com"}


class GhcrResidency(GhcrApp):
    """GHE.com, GitHub with data residency."""

    variant = "ghe.com"
    api_host = "api.octocorp.ghe.com"
    calls = r"POST api\.octocorp\.ghe\.com/app/"
    realm = "https://containers.octocorp.ghe.com/token"
    service = "containers.octocorp.ghe.com"
    registry_hosts = ("containers.octocorp.ghe.com",)

    @property
    def definition(self) -> Mapping[str, Any]:
        return {**super().definition, "server": "octocorp.ghe.com"}
