"""Gitea and its access tokens.

Source: gitea.dev v1.27.3, routers/api/v1/user/app.go. tests/real runs the real server.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry, Rights
from fakes.vendors.tokens import TokenKeeper

_PAGE = 2
"""Tokens in a page; the server may return fewer than the client requests."""


class Gitea(TokenKeeper):
    provider = "gitea"
    lifetime = timedelta(days=14)
    dies = False
    calls = r"(GET|POST) gitea\.example\.com/gitea/api/"

    def make_registry(self) -> OciRegistry:
        registry = OciRegistry(
            self.clock,
            realm="https://gitea.example.com/v2/token",
            service="container_registry",
            check=self.check,
            readable=False,
        )
        self.network.add(
            "gitea.example.com",
            lambda r: self.api(r) if r.path.startswith("/gitea/api/") else registry.handle(r),
        )
        return registry

    def check(self, host: str, username: str, password: str) -> Rights | None:
        found = super().check(host, username, password)
        if found is not None:
            found.expires_at = None  # tokens have no expiry
        return found

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": "gitea",
            "host": "gitea.example.com",
            "server": "gitea.example.com/gitea",
            "user": "puller",
            "repositories": ["team/"],
            "probe": "team/app:1",
        }

    @property
    def upstream(self) -> Mapping[str, str]:
        return {"username": "puller", "password": "the bot's password"}

    @property
    def hosts(self) -> tuple[str, ...]:
        return ("gitea.example.com",)

    def api(self, request: Request) -> Response:
        login = b64encode(b"puller:the bot's password").decode()
        if self.refused_now(request, expected=f"Basic {login}"):
            return Response(401, {"message": "invalid username, password or token"})
        match = re.fullmatch(
            r"/gitea/api/v1/users/(?P<user>[A-Za-z0-9._-]+)/tokens(?:/(?P<id>\d+))?", request.path
        )
        known = {("DELETE", True), ("GET", False), ("POST", False)}
        if match is None or (request.method, bool(match["id"])) not in known:
            return Response(405 if match else 404, {"message": "not found"})
        if match["user"] != "puller":
            return Response(403, {"message": "doer should be the site admin or be same as the contextUser"})
        if request.method == "DELETE":
            return Response(204 if self.kept.pop(match["id"], None) else 404)
        if request.method == "GET":
            page = int(dict(request.query).get("page", "1"))
            items = [{"id": int(item.id), "name": item.name, "sha1": ""} for item in self.kept.values()]
            chosen = items[(page - 1) * _PAGE : page * _PAGE]
            return Response(200, chosen, {"X-Total-Count": str(len(items))})
        return self._create(request.document)

    def _create(self, body: dict[str, Any]) -> Response:
        if any(item.name == body["name"] for item in self.kept.values()):
            return Response(400, {"message": "access token name has been used already"})
        if body["scopes"] != ["read:package"]:
            return Response(400, {"message": "access token must have a scope"})
        token_id = str(secrets.randbelow(10**6) + 1)
        kept = self.keep(token_id, body["name"], "puller", 0, ["team/*"])
        kept.rights.expires_at = None
        kept.secret = secrets.token_hex(20)
        return Response(
            201, {"id": int(token_id), "name": kept.name, "sha1": kept.secret, "scopes": body["scopes"]}
        )
