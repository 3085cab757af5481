"""Vendors that keep named tokens: Docker Hub organisations, GitLab deploy tokens, Harbor robots, Nexus users."""

from __future__ import annotations

import re
import secrets
from abc import abstractmethod
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry, Rights
from fakes.vendors.vendor import Vendor


@dataclass
class Kept:
    """A token that exists upstream."""

    id: str
    name: str
    username: str
    secret: str
    rights: Rights


class TokenKeeper(Vendor):
    """Keeps tokens; what exists is a login of the registry, what was removed is none."""

    revocable = True
    keeps_tokens = True

    def install(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.may_push = False
        self.refused = False
        self.registry = self.make_registry()

    @abstractmethod
    def make_registry(self) -> OciRegistry:
        """Answer for the hosts."""

    def check(self, host: str, username: str, password: str) -> Rights | None:
        found = (item for item in self.kept.values() if (item.username, item.secret) == (username, password))
        return next((item.rights for item in found), None)

    def keep(
        self, token_id: str, name: str, username: str, expires_at: float, repositories: list[str]
    ) -> Kept:
        rights = Rights(pull=repositories, push=["*"] if self.may_push else [], expires_at=expires_at)
        item = Kept(token_id, name, username, secrets.token_urlsafe(24), rights)
        self.kept[token_id] = item
        return item

    def widen(self) -> None:
        self.may_push = True

    def refuse(self) -> None:
        self.refused = True

    def refused_now(self, request: Request, *, expected: str) -> bool:
        return self.refused or request.header("Authorization") != expected


class DockerHubOrganisation(TokenKeeper):
    provider = "dockerhub"
    variant = "organisation"
    lifetime = timedelta(days=14)
    calls = r"(GET|POST) hub\.docker\.com/v2/"

    def make_registry(self) -> OciRegistry:
        self.network.add("hub.docker.com", self.hub)
        registry = OciRegistry(
            self.clock, realm="https://auth.docker.io/token", service="registry.docker.io", check=self.check
        )
        registry.install(self.network, "registry-1.docker.io")
        self.network.add("auth.docker.io", registry.token)
        self.sessions: set[str] = set()
        return registry

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "dockerhub",
            "organisation": "team",
            "repositories": ["team/app"],
            "probe": "team/app:1",
        }

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"username": "owner", "password": "an owner's token"}

    @property
    def hosts(self) -> tuple[str, ...]:
        return ("docker.io", "index.docker.io", "registry-1.docker.io")

    def hub(self, request: Request) -> Response:
        if request.path == "/v2/auth/token":
            if self.refused or request.document != {"identifier": "owner", "secret": "an owner's token"}:
                return Response(401, {"detail": "Incorrect authentication credentials", "message": "no"})
            session = secrets.token_urlsafe(30)
            self.sessions.add(session)
            return Response(200, {"access_token": session})
        if request.header("Authorization").removeprefix("Bearer ") not in self.sessions:
            return Response(401, {"message": "unauthorized", "errinfo": {}})
        match = re.fullmatch(r"/v2/orgs/team/access-tokens(?:/(?P<id>[0-9a-f-]+))?", request.path)
        if match is None:
            return Response(404, {"message": "object not found"})
        if request.method == "DELETE":
            found = self.kept.pop(match["id"], None)
            return Response(204 if found else 404)
        return self._list(dict(request.query)) if request.method == "GET" else self._create(request.document)

    def _list(self, query: dict[str, str]) -> Response:
        page, size = int(query["page"]), min(int(query["page_size"]), 2)
        items = [{"id": item.id, "label": item.name, "is_active": True} for item in self.kept.values()]
        chosen = items[(page - 1) * size : page * size]
        more = "https://hub.docker.com/next" if page * size < len(items) else ""
        return Response(200, {"total": len(items), "next": more, "previous": "", "results": chosen})

    def _create(self, body: dict[str, Any]) -> Response:
        if len(self.kept) >= 10:
            return Response(403, {"message": "organization has reached its limit of access tokens"})
        repositories = []
        for item in body["resources"]:
            assert item["type"] == "TYPE_REPO"
            assert item["scopes"] == ["scope-image-pull"]
            repositories.append(item["path"])
        expires_at = datetime.fromisoformat(body["expires_at"])
        token_id = f"{secrets.token_hex(4)}-8889-43a0-8cc7-{secrets.token_hex(6)}"
        kept = self.keep(token_id, body["label"], "team", expires_at.timestamp(), repositories)
        answer = {
            "id": token_id,
            "label": kept.name,
            "is_active": True,
            "expires_at": body["expires_at"],
            "token": kept.secret,
        }
        return Response(201, answer)


class Gitlab(TokenKeeper):
    provider = "gitlab"
    lifetime = timedelta(days=14)
    calls = r"(GET|POST) gitlab\.com/api/"

    def make_registry(self) -> OciRegistry:
        registry = OciRegistry(
            self.clock, realm="https://gitlab.com/jwt/auth", service="container_registry", check=self.check
        )
        registry.install(self.network, "registry.gitlab.com")
        self.network.add(
            "gitlab.com",
            lambda request: registry.token(request) if request.path == "/jwt/auth" else self.api(request),
        )
        return registry

    @property
    def definition(self) -> Mapping[str, Any]:
        return {"provider": "gitlab", "group": "team", "repositories": ["team/"], "probe": "team/app:1"}

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"token": "glpat-an-owner's-token"}

    @property
    def hosts(self) -> tuple[str, ...]:
        return ("registry.gitlab.com",)

    def api(self, request: Request) -> Response:
        if self.refused_now(request, expected="Bearer glpat-an-owner's-token"):
            return Response(401, {"message": "401 Unauthorized"})
        match = re.fullmatch(r"/api/v4/groups/team/deploy_tokens(?:/(?P<id>\d+))?", request.path)
        if match is None:
            return Response(404, {"message": "404 Group Not Found"})
        if request.method == "DELETE":
            return Response(204 if self.kept.pop(match["id"], None) else 404)
        if request.method == "GET":
            page = int(dict(request.query)["page"])
            items = [{"id": int(item.id), "name": item.name, "revoked": False} for item in self.kept.values()]
            following = str(page + 1) if len(items) > page else ""
            return Response(200, items[page - 1 : page], {"X-Next-Page": following})
        body = request.document
        assert body["scopes"] == ["read_registry"]
        expires_at = datetime.fromisoformat(body["expires_at"])
        token_id = str(secrets.randbelow(10**9) + 1)
        kept = self.keep(
            token_id, body["name"], f"gitlab+deploy-token-{token_id}", expires_at.timestamp(), ["team/*"]
        )
        answer = {
            "id": int(token_id),
            "name": kept.name,
            "username": kept.username,
            "expires_at": expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "token": kept.secret,
            "revoked": False,
            "expired": False,
            "scopes": ["read_registry"],
        }
        return Response(201, answer)


class Harbor(TokenKeeper):
    provider = "harbor"
    lifetime = timedelta(days=14)
    calls = r"(GET|POST) harbor\.example\.com/api/"

    def make_registry(self) -> OciRegistry:
        registry = OciRegistry(
            self.clock,
            realm="https://harbor.example.com/service/token",
            service="harbor-registry",
            check=self.check,
        )
        self.network.add(
            "harbor.example.com", lambda r: self.api(r) if r.path.startswith("/api/") else registry.handle(r)
        )
        return registry

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "harbor",
            "host": "harbor.example.com",
            "harbor_project": "team",
            "probe": "team/app:1",
        }

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"username": "robot$maker", "password": "a maker's secret"}

    @property
    def hosts(self) -> tuple[str, ...]:
        return ("harbor.example.com",)

    def api(self, request: Request) -> Response:
        login = b64encode(b"robot$maker:a maker's secret").decode()
        if self.refused_now(request, expected=f"Basic {login}"):
            return Response(401, {"errors": [{"code": "UNAUTHORIZED", "message": "unauthorized"}]})
        if (request.method, request.path) == ("GET", "/api/v2.0/projects/team"):
            return Response(200, {"project_id": 7, "name": "team"})
        match = re.fullmatch(r"/api/v2\.0/robots(?:/(?P<id>\d+))?", request.path)
        if match is None:
            return Response(404, {"errors": [{"code": "NOT_FOUND", "message": "no"}]})
        if request.method == "DELETE":
            return Response(200 if self.kept.pop(match["id"], None) else 404)
        if request.method == "GET":
            assert dict(request.query)["q"] == "Level=project,ProjectID=7"
            items = [{"id": int(item.id), "name": item.username} for item in self.kept.values()]
            return Response(200, items)
        return self._create(request.document)

    def _create(self, body: dict[str, Any]) -> Response:
        username = f"robot$team+{body['name']}"
        if any(item.username == username for item in self.kept.values()):
            return Response(409, {"errors": [{"code": "CONFLICT", "message": "robot already exists"}]})
        (permission,) = body["permissions"]
        assert permission == {
            "kind": "project",
            "namespace": "team",
            "access": [{"resource": "repository", "action": "pull"}],
        }
        assert body["level"] == "project"
        assert body["duration"] >= 1
        expires_at = int(self.clock.time()) + body["duration"] * 86400
        robot_id = str(secrets.randbelow(10**6) + 1)
        kept = self.keep(robot_id, body["name"], username, expires_at, ["team/*"])
        return Response(
            201, {"id": int(robot_id), "name": username, "secret": kept.secret, "expires_at": expires_at}
        )


class Nexus(Vendor):
    provider = "nexus"
    lifetime = timedelta(days=14)
    dies = False
    revocable = True
    calls = r"PUT nexus\.example\.com/service/rest/"

    def install(self) -> None:
        self.passwords = {"pull-a": "old a", "pull-b": "old b"}
        self.may_push = self.refused = False
        self.registry = OciRegistry(
            self.clock,
            realm="https://nexus.example.com:8443/v2/token",
            service="nexus",
            check=self.check,
            readable=False,
        )
        self.registry.install(self.network, "nexus.example.com:8443")
        self.network.add("nexus.example.com", self.api)

    def check(self, host: str, username: str, password: str) -> Rights | None:
        if self.passwords.get(username) != password:
            return None
        return Rights(push=["*"] if self.may_push else [])

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "nexus",
            "server": "nexus.example.com",
            "hosts": ["nexus.example.com:8443"],
            "users": ["pull-a", "pull-b"],
            "probe": "team/app:1",
        }

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"username": "admin", "password": "an admin's password"}

    @property
    def hosts(self) -> tuple[str, ...]:
        return ("nexus.example.com:8443",)

    def api(self, request: Request) -> Response:
        login = b64encode(b"admin:an admin's password").decode()
        if self.refused or request.header("Authorization") != f"Basic {login}":
            return Response(401)
        match = re.fullmatch(r"/service/rest/v1/security/users/([a-z-]+)/change-password", request.path)
        if match is None or match[1] not in self.passwords:
            return Response(404)
        if request.method != "PUT" or request.header("Content-Type") != "text/plain":
            return Response(415)
        self.passwords[match[1]] = request.body.decode()
        return Response(204)

    def widen(self) -> None:
        self.may_push = True

    def refuse(self) -> None:
        self.refused = True
