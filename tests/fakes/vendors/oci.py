"""A registry with Basic or token authentication, for any number of hosts.

Sources: github.com/opencontainers/distribution-spec, spec.md, and
https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import binascii
import fnmatch
import re
import secrets
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt
from fakes.vendors.network import Clock, Network, Request, Response

_ACCEPTED = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
}


@dataclass
class Rights:
    """The repositories that a login may pull from and push to, as patterns; a push includes a pull."""

    pull: list[str] = field(default_factory=lambda: ["team/*"])
    push: list[str] = field(default_factory=list)
    expires_at: float | None = None

    def actions(self, repository: str) -> set[str]:
        found = (
            {"pull"}
            if any(fnmatch.fnmatchcase(repository, item) for item in (*self.pull, *self.push))
            else set()
        )
        return found | (
            {"push"} if any(fnmatch.fnmatchcase(repository, item) for item in self.push) else set()
        )


class OciRegistry:
    """One registry.

    Args:
        clock: The vendor's clock.
        realm: The token service's URL; empty for Basic authentication.
        readable: Whether its tokens are JWTs with an `access` claim; otherwise they are opaque.
        check: Returns the rights of a host, user and password; None for `logins`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        realm: str = "",
        service: str = "registry",
        readable: bool = True,
        check: Callable[[str, str, str], Rights | None] | None = None,
        repositories: tuple[str, ...] = ("team/app",),
    ) -> None:
        self.clock = clock
        self.realm = realm
        self.service = service
        self.readable = readable
        self.repositories = list(repositories)
        self.logins: dict[tuple[str, str], Rights] = {}
        self.uploads: set[str] = set()
        self._check = check
        self._key = secrets.token_bytes(32)
        self._opaque: dict[str, tuple[str, set[str], str]] = {}

    def install(self, network: Network, *hosts: str) -> None:
        for host in hosts:
            network.add(host, self.handle)

    def rights(self, host: str, username: str, password: str) -> Rights | None:
        found = (
            self._check(host, username, password) if self._check else self.logins.get((username, password))
        )
        if found is None or (found.expires_at is not None and found.expires_at <= self.clock.time()):
            return None
        return found

    def handle(self, request: Request) -> Response:
        if self.realm and f"https://{request.host}{request.path}" == self.realm:
            return self.token(request)
        if request.path.startswith("/v2/"):
            return self.api(request)
        return Response(404, {"errors": [{"code": "NOT_FOUND"}]})

    def token(self, request: Request) -> Response:
        """The token service of Docker's token authentication."""
        query = dict(request.query)
        if query.get("service") != self.service:
            return Response(400, {"errors": [{"code": "UNSUPPORTED"}]})
        login = basic_login(request)
        rights = self.rights(request.host, *login) if login else None
        if rights is None:
            return Response(401, {"errors": [{"code": "UNAUTHORIZED", "message": f"bad login {login}"}]})
        access = [
            item for name, value in request.query if name == "scope" for item in self._grant(rights, value)
        ]
        if self.readable:
            token = jwt.encode(
                {"exp": self.clock.time() + 300, "access": access}, self._key, algorithm="HS256"
            )
        else:
            token = secrets.token_urlsafe(40)
            user = login[0] if login else ""
            name, actions = (access[0]["name"], set(access[0]["actions"])) if access else ("", set())
            self._opaque[token] = (name, actions, user)
        return Response(200, {"token": token, "expires_in": 300})

    def end_tokens(self, username: str) -> None:
        """Refuse the pull tokens that this user has received so far."""
        self._opaque = {token: found for token, found in self._opaque.items() if found[2] != username}

    @staticmethod
    def _grant(rights: Rights, scope: str) -> list[dict[str, object]]:
        kind, name, actions = scope.split(":")
        granted = sorted(set(actions.split(",")) & rights.actions(name))
        return [{"type": kind, "name": name, "actions": granted}] if granted else []

    def api(self, request: Request) -> Response:
        match = re.fullmatch(
            r"/v2/(?:(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<rest>.*))?", request.path
        )
        if match is None:
            return Response(404, {"errors": [{"code": "NOT_FOUND"}]})
        repository = match["repository"] or ""
        if refused := self._refused(request, repository):
            return refused
        if not repository:
            return Response(200, {})
        return self._manifest(request) if match["kind"] == "manifests" else self._upload(request, repository)

    def _refused(self, request: Request, repository: str) -> Response | None:
        actions = self._actions(request, repository)
        if actions is None:
            return self._unauthorized(repository)
        if not repository:
            return None
        needed = "pull" if request.method in {"HEAD", "GET"} else "push"
        if needed not in actions:
            return (
                Response(403, {"errors": [{"code": "DENIED"}]})
                if not self.realm
                else self._unauthorized(repository)
            )
        if repository not in self.repositories:
            return Response(404, {"errors": [{"code": "NAME_UNKNOWN"}]})
        return None

    def _actions(self, request: Request, repository: str) -> set[str] | None:
        if not self.realm:
            login = basic_login(request)
            rights = self.rights(request.host, *login) if login else None
            return None if rights is None else rights.actions(repository)
        scheme, _, token = request.header("Authorization").partition(" ")
        if scheme != "Bearer":
            return None
        if not self.readable:
            found = self._opaque.get(token)
            return None if found is None else found[1] if found[0] == repository else set()
        try:
            claims = jwt.decode(token, self._key, algorithms=["HS256"])
        except jwt.PyJWTError:
            return None
        return {
            action for item in claims["access"] if item["name"] == repository for action in item["actions"]
        }

    def _unauthorized(self, repository: str) -> Response:
        if not self.realm:
            challenge = f'Basic realm="{self.service}"'
        else:
            challenge = f'Bearer realm="{self.realm}",service="{self.service}"'
            challenge += (
                f',scope="repository:{repository}:pull",error="insufficient_scope"' if repository else ""
            )
        return Response(401, {"errors": [{"code": "UNAUTHORIZED"}]}, {"WWW-Authenticate": challenge})

    def _manifest(self, request: Request) -> Response:
        assert request.method == "HEAD", "Docker Hub counts a successful GET as a pull"
        accepted = {item.strip() for item in request.header("Accept").split(",")}
        if not accepted >= _ACCEPTED:
            return Response(404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]})
        return Response(200, {"schemaVersion": 2})

    def _upload(self, request: Request, repository: str) -> Response:
        if request.method == "POST":
            upload = secrets.token_hex(8)
            self.uploads.add(upload)
            return Response(202, None, {"Location": f"/v2/{repository}/blobs/uploads/{upload}"})
        self.uploads.discard(request.path.rpartition("/")[2])
        return Response(204)


def basic_login(request: Request) -> tuple[str, str] | None:
    scheme, _, value = request.header("Authorization").partition(" ")
    if scheme != "Basic":
        return None
    try:
        username, _, password = b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return username, password
