"""Registries whose token in the upstream secret is the credential: ACR tokens, GHCR, Quay robots, Docker
Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry, Rights
from fakes.vendors.vendor import Vendor


class Static(Vendor):
    """A registry with two logins, as while its owner replaces one."""

    host: ClassVar[str]
    realm: ClassVar[str]
    service: ClassVar[str]
    fields: ClassVar[dict[str, Any]] = {}
    readable: ClassVar[bool] = True
    repository = "team/app"
    username = "puller"

    def install(self) -> None:
        self.registry = OciRegistry(
            self.clock,
            realm=self.realm,
            service=self.service,
            readable=self.readable,
            repositories=(self.repository,),
        )
        self.registry.install(self.network, self.host, self.realm.split("/")[2])
        if self.realm.split("/")[2] != self.host:
            self.network.add(self.realm.split("/")[2], self.registry.token)
        self.first = self.registry.logins[self.username, "static secret A"] = Rights()
        self.registry.logins[f"{self.username}-b", "static secret B"] = Rights()

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "provider": self.provider,
            "repositories": ["team/"],
            "probe": f"{self.repository}:1",
            **self.fields,
        }

    @property
    def upstream(self) -> Mapping[str, str]:
        return {
            "username": self.username,
            "password": "static secret A",
            "username_2": f"{self.username}-b",
            "password_2": "static secret B",
        }

    @property
    def hosts(self) -> tuple[str, ...]:
        return (self.host,)

    def widen(self) -> None:
        self.first.push.append("*")


class AcrToken(Static):
    provider = "acr"
    variant = "token"
    host = "example.azurecr.io"
    realm = "https://example.azurecr.io/oauth2/token"
    service = "example.azurecr.io"
    fields: ClassVar[dict[str, Any]] = {"auth": "token", "hosts": ["example.azurecr.io"]}


class GhcrToken(Static):
    provider = "ghcr"
    variant = "token"
    host = "ghcr.io"
    realm = "https://ghcr.io/token"
    service = "ghcr.io"
    readable = False
    revocable = True

    def install(self) -> None:
        super().install()
        self.network.add("api.github.com", self.api)

    def api(self, request: Request) -> Response:
        """Revoke tokens: anybody who has a token may revoke it, and GitHub answers 202 for unknown ones too
        (docs.github.com/rest/credentials/revoke)."""
        if (request.method, request.path) != ("POST", "/credentials/revoke"):
            return Response(404, {"message": "Not Found"})
        if request.header("Authorization"):
            return Response(403, {"message": "This endpoint takes no credentials"})
        for login in list(self.registry.logins):
            if login[1] in request.document["credentials"]:
                del self.registry.logins[login]
        return Response(202)


class GhcrServerToken(GhcrToken):
    """A GitHub Enterprise Server, which revokes tokens only for a caller that is signed in
    (docs.github.com/enterprise-server@3.19/rest/credentials/revoke)."""

    variant = "server-token"
    host = "containers.github.example.com"
    realm = "https://containers.github.example.com/token"
    service = "containers.github.example.com"
    fields: ClassVar[dict[str, Any]] = {"server": "github.example.com"}

    def install(self) -> None:
        super().install()
        self.network.add("github.example.com", self.server_api)

    def server_api(self, request: Request) -> Response:
        tokens = {password for _, password in self.registry.logins}
        if request.header("Authorization").removeprefix("Bearer ") not in tokens:
            return Response(401, {"message": "Requires authentication"})
        bare = replace(request, path=request.path.removeprefix("/api/v3"), headers={})
        return self.api(bare)


class QuayStatic(Static):
    provider = "quay"
    variant = "static"
    host = "quay.io"
    realm = "https://quay.io/v2/auth"
    service = "quay.io"
    fields: ClassVar[dict[str, Any]] = {"auth": "static"}
    username = "team+puller"


class DockerHubStatic(Static):
    provider = "dockerhub"
    variant = "static"
    host = "registry-1.docker.io"
    realm = "https://auth.docker.io/token"
    service = "registry.docker.io"
    fields: ClassVar[dict[str, Any]] = {"auth": "static"}

    @property
    def hosts(self) -> tuple[str, ...]:
        return ("docker.io", "index.docker.io", "registry-1.docker.io")
