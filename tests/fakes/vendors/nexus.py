"""Nexus and its users.

Source: github.com/sonatype/nexus-public, UserApiResource and DefaultSecuritySystem.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry, Rights
from fakes.vendors.vendor import Vendor


class Nexus(Vendor):
    provider = "nexus"
    lifetime = timedelta(days=14)
    dies = False
    revocable = True
    base = ""
    """The context path."""
    calls = r"PUT nexus\.example\.com/service/rest/"

    def install(self) -> None:
        self.passwords = {"pull-a": "old a", "pull-b": "old b"}
        self.disabled: set[str] = set()
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
        if self.passwords.get(username) != password or username in self.disabled:
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
        path = request.path.removeprefix(self.base)
        match = re.fullmatch(
            r"/service/rest/v1/security/users(?:/(?P<user>[a-z-]+)(?P<change>/change-password)?)?", path
        )
        if match is None:
            return Response(404)
        if not match["user"]:
            return self._search(dict(request.query))
        return self._change(match, request)

    def _change(self, match: re.Match[str], request: Request) -> Response:
        if match["user"] not in self.passwords or request.method != "PUT":
            return Response(404)
        if not match["change"]:
            return self._put(match["user"], request.document)
        if request.header("Content-Type") != "text/plain":
            return Response(415)
        # This clears only the cache of logins; pull tokens that were created with the old password stay
        # valid.
        self.passwords[match["user"]] = request.body.decode()
        return Response(204)

    def _search(self, query: dict[str, str]) -> Response:
        found = [user for user in self.passwords if user.startswith(query.get("userId", ""))]
        return Response(200, [self._described(user) for user in found])

    def _described(self, user: str) -> dict[str, Any]:
        status = "disabled" if user in self.disabled else "active"
        return {
            "userId": user,
            "firstName": "Pull",
            "lastName": "Robot",
            "emailAddress": "pull@example.com",
            "source": "default",
            "status": status,
            "readOnly": False,
            "roles": ["pull"],
            "externalRoles": [],
        }

    def _put(self, user: str, document: dict[str, Any]) -> Response:
        if {**document, "status": ""} != {**self._described(user), "status": ""}:
            return Response(400, [{"id": "*", "message": "would change more than the status"}])
        if document["status"] == "disabled":
            self.disabled.add(user)
            self.registry.end_tokens(user)
        else:
            self.disabled.discard(user)
        return Response(204)

    def widen(self) -> None:
        self.may_push = True

    def refuse(self) -> None:
        self.refused = True
