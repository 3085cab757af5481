"""JFrog: tokens for an AWS role, for an identity token, and created with an administrator's token.

Sources: JFrog's REST documentation ("PUT AWS IAM role", "Create Token", "Revoke Token by ID", "Use the
Revocable and Persistency Thresholds"), its operator (github.com/jfrog/jfrog-registry-operator, internal/sign)
and, for the OIDC exchange, github.com/jfrog/setup-jfrog-cli, src/oidc-utils.ts.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from fakes.vendors.federated import Minting
from fakes.vendors.network import Request, Response
from fakes.vendors.vendor import PROJECT_ROLE

_ROLE = re.compile(r"arn:aws:iam::\d{12}:role/[\w+=,.@:-]+")
_PROVIDER_NAME = re.compile(r"[a-z][a-z0-9-]+")
REVOCABLE = 6 * 3600
"""``revocable-expiry-threshold`` in seconds: a token with a shorter life can be revoked only if it was
created with ``force_revocable``."""


class JfrogAws(Minting):
    provider = "artifactory"
    variant = "aws"
    lifetime = timedelta(hours=6)
    keyless = True
    revocable = True
    calls = r"POST example\.jfrog\.io/access/"
    realm = "https://example.jfrog.io/v2/token"
    service = "example.jfrog.io"
    registry_hosts = ("example.jfrog.io", "example-docker.jfrog.io")

    def install(self) -> None:
        super().install()
        self.mapped = PROJECT_ROLE.replace("/regcred/", "/")
        self.stored: dict[str, tuple[str, str]] = {}
        """For the id of each token that can be revoked, its user and the token."""
        self.holders_revoke = True
        """Whether it is 7.53.1 or newer, in which a token's holder can revoke it by the id ``me``."""

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

    def make(self, username: str, seconds: int, *, forced: bool = False, **claims: Any) -> tuple[str, str]:
        """Create a token, store it if it can be revoked, and return its id and the token."""
        token, token_id = self.issue(username, seconds, **claims), secrets.token_hex(16)
        if forced or seconds >= REVOCABLE:
            self.stored[token_id] = (username, token)
        return token_id, token

    def end(self, token_id: str) -> Response:
        user_and_token = self.stored.pop(token_id, None)
        if user_and_token is None:
            return Response(404, {"errors": [{"code": "NOT_FOUND"}]})
        self.registry.logins.pop(user_and_token, None)
        return Response(200)

    def end_own(self, request: Request) -> Response:
        token = request.header("Authorization").removeprefix("Bearer ")
        if not any(token == password for _, password in self.registry.logins):
            return Response(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        if not self.holders_revoke:
            return Response(404, {"errors": [{"code": "NOT_FOUND"}]})
        return self.end(next((key for key, (_, other) in self.stored.items() if other == token), ""))

    def api(self, request: Request) -> Response | None:
        if (request.method, request.path) == ("DELETE", "/access/api/v1/tokens/me"):
            return self.end_own(request)
        return self.access(request)

    def access(self, request: Request) -> Response | None:
        if (request.method, request.path) == ("PUT", "/access/api/v1/aws/iam_role"):
            if not _ROLE.fullmatch(request.document["iam_role"]):
                return Response(400, {"errors": [{"code": "BAD_REQUEST", "message": "invalid role"}]})
            self.mapped = request.document["iam_role"]
            return Response(204)
        if (request.method, request.path) != ("POST", "/access/api/v1/aws/token"):
            return None
        if self.aws.role_of_proof(request.headers) != self.mapped:
            return Response(403, {"errors": [{"code": "FORBIDDEN", "message": "no user is mapped"}]})
        seconds = request.document["expires_in"]
        _, token = self.make("puller", seconds)
        return Response(200, {"username": "puller", "access_token": token, "expires_in": seconds})


class JfrogOidc(JfrogAws):
    variant = "oidc"

    def install(self) -> None:
        super().install()
        self.subjects = [PROJECT_ROLE]

    def auth(self) -> dict[str, Any]:
        return {"auth": "oidc", "oidc_provider": "regcred"}

    def access(self, request: Request) -> Response | None:
        if (request.method, request.path) == ("POST", "/access/api/v1/oidc"):
            self.subjects = []
            return Response(201 if _PROVIDER_NAME.fullmatch(request.document["name"]) else 400)
        if (request.method, request.path) == ("POST", "/access/api/v1/oidc/regcred/identity_mappings"):
            self.subjects.append(request.document["claims"]["sub"])
            return Response(201)
        if (request.method, request.path) != ("POST", "/access/api/v1/oidc/token"):
            return None
        body = request.document
        if (
            body["grant_type"] != "urn:ietf:params:oauth:grant-type:token-exchange"
            or body["subject_token_type"] != "urn:ietf:params:oauth:token-type:id_token"
            or body["provider_name"] != "regcred"
        ):
            return Response(400, {"errors": [{"code": "BAD_REQUEST"}]})
        if (
            self.aws.identity_of(body["subject_token"], audience="https://example.jfrog.io")
            not in self.subjects
        ):
            return Response(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        seconds = int(self.lifetime.total_seconds())
        _, token = self.make("puller", seconds, sub="jfac@01abc/users/puller")
        return Response(200, {"access_token": token, "expires_in": seconds, "token_type": "Bearer"})


class JfrogToken(JfrogAws):
    variant = "token"
    keyless = False

    def install(self) -> None:
        super().install()
        self.refused = False
        self.version = (7, 104, 0)

    def auth(self) -> dict[str, Any]:
        return {"auth": "token", "username": "puller", "groups": ["readers", "my-group"]}

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"token": "an administrator's token"}

    def refuse(self) -> None:
        self.refused = True

    def access(self, request: Request) -> Response | None:
        if not request.path.startswith("/access/api/v1/tokens"):
            return None
        if self.refused or request.header("Authorization") != "Bearer an administrator's token":
            return Response(401, {"errors": [{"code": "UNAUTHORIZED", "message": "Invalid token"}]})
        if request.method == "DELETE":
            return self.end(request.path.rpartition("/")[2])
        if (request.method, request.path) != ("POST", "/access/api/v1/tokens"):
            return Response(405)
        body = request.document
        if not re.fullmatch(r'applied-permissions/groups:"[^",]+"(,"[^",]+")*', body["scope"]):
            return Response(400, {"errors": [{"code": "BAD_REQUEST", "message": "invalid scope"}]})
        assert body["refreshable"] is False
        forced = self.version >= (7, 50, 3) and body.get("force_revocable") is True
        seconds = body["expires_in"]
        token_id, token = self.make(body["username"], seconds, forced=forced)
        return Response(
            200,
            {"token_id": token_id, "access_token": token, "expires_in": seconds, "token_type": "Bearer"},
        )
