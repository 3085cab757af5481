"""Harbor's robots, as strict as Harbor 2.15.2.

Source: github.com/goharbor/harbor, src/server/v2.0/handler/robot.go.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry
from fakes.vendors.tokens import TokenKeeper

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_ALL = frozenset(
    {("robot", "create"), ("robot", "list"), ("robot", "delete"), ("repository", "pull"), ("project", "read")}
)


class Harbor(TokenKeeper):
    """A Harbor with the projects ``team`` (id 7) and ``tools`` (id 8). The upstream secret is a robot's, the
    maker."""

    provider = "harbor"
    lifetime = timedelta(days=14)
    calls = r"(GET|POST) harbor\.example\.com/api/"
    projects: ClassVar[dict[str, int]] = {"team": 7, "tools": 8}
    base = ""
    """The path prefix that a reverse proxy adds."""

    def make_registry(self) -> OciRegistry:
        self.maker = set(_ALL)
        self.maker_effect = ""
        """The effect of the maker's permissions; ``allow`` if Terraform's provider created the maker."""
        self.read_only = False
        self.maker_is_a_robot = True
        registry = OciRegistry(
            self.clock,
            realm="https://harbor.example.com/service/token",
            service="harbor-registry",
            check=self.check,
        )
        self.network.add(
            "harbor.example.com",
            lambda r: self.api(r) if r.path.startswith(f"{self.base}/api/") else registry.handle(r),
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
        path = request.path.removeprefix(self.base).removeprefix("/api/v2.0")
        login = b64encode(b"robot$maker:a maker's secret").decode()
        if self.refused_now(request, expected=f"Basic {login}"):
            return _error(401, "UNAUTHORIZED")
        if self.read_only and request.method not in {"GET", "HEAD"}:
            return _error(403, "DENIED")  # src/server/middleware/readonly
        if request.method == "GET" and (found := self._information(path, request)):
            return found
        return self._robots(path, request)

    def _information(self, path: str, request: Request) -> Response | None:
        if path == "/systeminfo":
            return Response(200, {"harbor_version": "v2.15.2", "read_only": self.read_only})
        if path == "/users/current/permissions":
            return self._permissions(dict(request.query))
        match = re.fullmatch(r"/projects/(?P<name>[^/]+)", path)
        return self._project(match["name"], request) if match else None

    def _robots(self, path: str, request: Request) -> Response:
        match = re.fullmatch(r"/robots(?:/(?P<id>\d+))?", path)
        if match is None:
            return _error(404, "NOT_FOUND")
        if request.method == "DELETE":
            return self._delete(match["id"])
        if request.method == "GET":
            return self._list(dict(request.query))
        if request.method != "POST":
            return _error(405, "METHOD_NOT_ALLOWED")
        return self._create(request.document)

    def _project(self, name: str, request: Request) -> Response:
        if name not in self.projects or ("project", "read") not in self.maker:
            return _error(403, "FORBIDDEN")  # only an administrator gets a 404
        assert request.header("X-Is-Resource-Name") == "true"
        return Response(200, {"project_id": self.projects[name], "name": name})

    def _permissions(self, query: dict[str, str]) -> Response:
        # A system scope lists no permission for robots (src/common/rbac/system/policies.go).
        scopes = {f"/project/{number}" for number in self.projects.values()}
        held = self.maker if query["scope"] in scopes else set()
        return Response(200, [{"resource": name, "action": action} for name, action in sorted(held)])

    def _list(self, query: dict[str, str]) -> Response:
        if ("robot", "list") not in self.maker:
            return _error(403, "FORBIDDEN")
        level = re.fullmatch(r"Level=(?:(project),ProjectID=(7|8)|(system))", query["q"])
        assert level is not None
        start = f"robot${self._name_of(int(level[2]))}+" if level[1] else "robot$"
        items: list[dict[str, Any]] = [
            {"id": int(item.id), "name": item.username}
            for item in self.kept.values()
            if item.username.startswith(start) and ("+" in item.username) == bool(level[1])
        ]
        if not level[1]:
            access = [{"resource": name, "action": action} for name, action in sorted(self.maker)]
            permissions = [{"kind": "system", "namespace": "/", "access": access}]
            items.insert(0, {"id": 1, "name": "robot$maker", "permissions": permissions})
        page, size = int(query["page"]), int(query["page_size"])
        return Response(200, items[(page - 1) * size : page * size])

    def _name_of(self, number: int) -> str:
        return next(name for name, other in self.projects.items() if other == number)

    def _delete(self, token_id: str) -> Response:
        if token_id not in self.kept:
            return _error(404, "NOT_FOUND")
        if ("robot", "delete") not in self.maker:
            return _error(403, "FORBIDDEN")
        del self.kept[token_id]
        return Response(200)

    def _create(self, body: dict[str, Any]) -> Response:
        permissions = body["permissions"]
        one = body["level"] == "project"
        if not _NAME.fullmatch(body["name"]) or (one and len(permissions) != 1):
            return _error(400, "BAD_REQUEST")
        if ("robot", "create") not in self.maker:
            return _error(403, "FORBIDDEN")
        if not all(self._may_give(permission) for permission in permissions):
            return _error(403, "DENIED")
        return self._store(body, f"{permissions[0]['namespace']}+" if one else "")

    def _store(self, body: dict[str, Any], start: str) -> Response:
        if len(f"{start}{body['name']}") > 255:
            return _error(500, "UNKNOWN")  # the database column has 255 characters
        username = f"robot${start}{body['name']}"
        if any(item.username == username for item in self.kept.values()):
            return _error(409, "CONFLICT")
        assert body["duration"] >= 1
        expires_at = int(self.clock.time()) + body["duration"] * 86400
        robot_id = str(secrets.randbelow(10**6) + 1)
        pull = [f"{permission['namespace']}/*" for permission in body["permissions"]]
        kept = self.keep(robot_id, body["name"], username, expires_at, pull)
        answer = {"id": int(robot_id), "name": username, "secret": kept.secret, "expires_at": expires_at}
        return Response(201, answer)

    def _may_give(self, permission: dict[str, Any]) -> bool:
        """Whether the maker has the permission that it gives (isValidPermissionScope). Harbor compares
        resource, action and effect as text."""
        assert permission["kind"] == "project"
        assert permission["namespace"] in self.projects
        (access,) = permission["access"]
        assert (access["resource"], access["action"]) == ("repository", "pull")
        same = access.get("effect", "") == self.maker_effect and ("repository", "pull") in self.maker
        return same or not self.maker_is_a_robot


class HarborSystem(Harbor):
    """A robot of level ``system``, for several projects."""

    variant = "system"

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "harbor",
            "host": "harbor.example.com",
            "harbor_projects": ["team", "tools"],
            "probe": "team/app:1",
        }


def _error(status: int, code: str) -> Response:
    return Response(status, {"errors": [{"code": code, "message": "no"}]})
