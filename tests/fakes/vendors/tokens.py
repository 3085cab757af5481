"""Vendors that store named tokens: Docker Hub organisations and GitLab; Harbor and Gitea have their own
files.

Sources: https://docs.docker.com/reference/api/hub/latest/ (docker_hub.yaml is an excerpt), and
https://docs.docker.com/security/access-tokens/organization-access-tokens/; for GitLab
https://docs.gitlab.com/api/deploy_tokens/, https://docs.gitlab.com/api/group_access_tokens/ and
https://docs.gitlab.com/user/packages/dependency_proxy/.
"""

from __future__ import annotations

import re
import secrets
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry, Rights
from fakes.vendors.vendor import Vendor


@dataclass
class Kept:
    """A token that exists at the vendor."""

    id: str
    name: str
    username: str
    secret: str
    rights: Rights


class TokenKeeper(Vendor):
    """Stores tokens; each is a login of the registry until it is deleted."""

    revocable = True
    keeps_tokens = True

    def install(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.may_push = False
        self.refused = False
        self.registry = self.make_registry()

    @abstractmethod
    def make_registry(self) -> OciRegistry:
        """Create the registry and add the handlers of the vendor's hosts."""

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
        self.organisations = {"team", "old-team"}
        self.plan = 10
        """The number of tokens that an organisation may have: 10 with Team, 100 with Business."""
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
        if (request.method, request.path) == ("POST", "/v2/auth/token"):
            if self.refused or request.document != {"identifier": "owner", "secret": "an owner's token"}:
                return Response(401, {"detail": "Incorrect authentication credentials", "message": "no"})
            session = secrets.token_urlsafe(30)
            self.sessions.add(session)
            return Response(200, {"access_token": session})
        if request.header("Authorization").removeprefix("Bearer ") not in self.sessions:
            return Response(401, {"message": "unauthorized", "errinfo": {}})
        return self._access_tokens(request)

    def _access_tokens(self, request: Request) -> Response:
        match = re.fullmatch(
            r"/v2/orgs/(?P<org>[a-z0-9-]+)/access-tokens(?:/(?P<id>[0-9a-f-]+))?", request.path
        )
        if match is None or match["org"] not in self.organisations:
            return Response(404, {"message": "object not found"})
        if request.method == "DELETE":
            found = self.kept.get(match["id"])
            if found is None or found.username != match["org"]:
                return Response(404, {"message": "object not found"})
            del self.kept[match["id"]]
            return Response(204)
        if request.method == "GET":
            return self._list(match["org"], dict(request.query))
        if request.method != "POST":
            return Response(405)
        return self._create(match["org"], request.document)

    def _list(self, organisation: str, query: dict[str, str]) -> Response:
        page, size = int(query["page"]), min(int(query["page_size"]), 2)
        items = [self._item(item) for item in self.kept.values() if item.username == organisation]
        chosen = items[(page - 1) * size : page * size]
        more = "https://hub.docker.com/next" if page * size < len(items) else ""
        return Response(200, {"total": len(items), "next": more, "previous": "", "results": chosen})

    @staticmethod
    def _item(kept: Kept) -> dict[str, Any]:
        expires_at = datetime.fromtimestamp(kept.rights.expires_at or 0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"id": kept.id, "label": kept.name, "is_active": True, "expires_at": expires_at}

    def _create(self, organisation: str, body: dict[str, Any]) -> Response:
        # Expired tokens count until they are deleted (docs.docker.com, organization access tokens).
        if sum(item.username == organisation for item in self.kept.values()) >= self.plan:
            return Response(403, {"message": "organization has reached its limit of access tokens"})
        if len(body["resources"]) > 50:
            return Response(400, {"message": "too many resources"})
        repositories = []
        for item in body["resources"]:
            if item["type"] != "TYPE_REPO" or item["scopes"] != ["scope-image-pull"]:
                return Response(400, {"message": "invalid resource"})
            path = item["path"]
            if path.endswith("/") or (path != "*/*/public" and not path.startswith(f"{organisation}/")):
                return Response(400, {"message": "invalid path"})  # orgAccessTokenResource
            repositories.append(path)
        expires_at = datetime.fromisoformat(body["expires_at"])
        token_id = f"{secrets.token_hex(4)}-8889-43a0-8cc7-{secrets.token_hex(6)}"
        kept = self.keep(token_id, body["label"], organisation, expires_at.timestamp(), repositories)
        return Response(201, {**self._item(kept), "token": kept.secret})


class Gitlab(TokenKeeper):
    provider = "gitlab"
    lifetime = timedelta(days=14)
    calls = r"(GET|POST) gitlab\.com/api/"
    owner = "groups/team"
    kind = "deploy_tokens"
    scopes: tuple[str, ...] = ("read_registry",)
    role = "owner"

    def make_registry(self) -> OciRegistry:
        registry = OciRegistry(
            self.clock, realm="https://gitlab.com/jwt/auth", service="container_registry", check=self.check
        )
        registry.install(self.network, "registry.gitlab.com")
        self.groups: dict[str, str] = {}
        """For the id of each token, its group or project, as in groups/team."""
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
        match = re.fullmatch(
            rf"/api/v4/(?P<owner>{self.owner}|groups/old-team)/{self.kind}(?:/(?P<id>\d+))?", request.path
        )
        if match is None or request.method not in {"DELETE", "GET", "POST"}:
            return Response(405 if match else 404, {"message": "404 Group Not Found"})
        # Of a group only an owner may make tokens, of a project a maintainer as well (gitlab.com docs,

        if self.role not in ({"owner"} if self.owner.startswith("groups/") else {"owner", "maintainer"}):
            return Response(403, {"message": "403 Forbidden"})
        if request.method == "DELETE":
            found = self.groups.get(match["id"]) == match["owner"] and self.kept.pop(match["id"], None)
            return Response(204 if found else 404)
        if request.method == "GET":
            page = int(dict(request.query)["page"])
            items = [
                {"id": int(item.id), "name": item.name, "revoked": False}
                for item in self.kept.values()
                if self.groups.get(item.id, self.owner) == match["owner"]
            ]
            following = str(page + 1) if len(items) > page else ""
            return Response(200, items[page - 1 : page], {"X-Next-Page": following})
        return self._create(match["owner"], request.document)

    def _create(self, owner: str, body: dict[str, Any]) -> Response:
        if body["scopes"] != list(self.scopes):
            return Response(400, {"message": {"scopes": ["are not valid"]}})
        expires_at = datetime.fromisoformat(body["expires_at"])
        if self.kind == "access_tokens":
            if not re.fullmatch(r"\d{4}-\d\d-\d\d", body["expires_at"]) or body.get("access_level") != 20:
                return Response(400, {"error": "expires_at is invalid"})
            expires_at = expires_at.replace(tzinfo=UTC)
        token_id = str(secrets.randbelow(10**9) + 1)
        self.groups[token_id] = owner
        username = "regcred" if self.kind == "access_tokens" else f"gitlab+deploy-token-{token_id}"
        group = owner.partition("/")[2].partition("%")[0]
        kept = self.keep(token_id, body["name"], username, expires_at.timestamp(), [f"{group}/*"])
        answer = {
            "id": int(token_id),
            "name": kept.name,
            "expires_at": body["expires_at"],
            "token": kept.secret,
            "revoked": False,
            "scopes": body["scopes"],
        }
        if self.kind == "deploy_tokens":
            ends = expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            answer |= {"username": kept.username, "expires_at": ends, "expired": False}
        return Response(201, answer)


class GitlabProject(Gitlab):
    """Deploy tokens of a project, which a maintainer may create."""

    variant = "project"
    owner = "projects/team%2Fapp"
    role = "maintainer"

    @property
    def definition(self) -> Mapping[str, Any]:
        return {"provider": "gitlab", "project": "team/app", "repositories": ["team/"], "probe": "team/app:1"}


class GitlabAccess(Gitlab):
    """Access tokens of a group; they expire at midnight UTC."""

    variant = "access"
    kind = "access_tokens"

    @property
    def lifetime(self) -> timedelta:
        now = self.clock.now()
        ends = (now + timedelta(days=14)).replace(hour=0, minute=0, second=0, microsecond=0)
        return ends - now

    @property
    def definition(self) -> Mapping[str, Any]:
        return {**super().definition, "tokens": "access"}


class GitlabDependencyProxy(Gitlab):
    """Deploy tokens for a group's dependency proxy, which is on GitLab's own host."""

    variant = "dependency proxy"
    scopes = ("read_registry", "read_virtual_registry")

    @property
    def definition(self) -> Mapping[str, Any]:
        return {**super().definition, "dependency_proxy": True}
