"""Lists and deletes the images in the system registry, over its HTTP API.

Contract: https://distribution.github.io/distribution/spec/api/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from regcred.errors import MissingError
from regcred.registry import transport
from regcred.token.retention import Tagged
from regcred.vault.records.system import SystemConfig

PAGE = 500
"""The number of repositories per page."""

INDEXES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
MANIFESTS = ", ".join(
    [
        *sorted(INDEXES),
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
)


@dataclass(frozen=True, slots=True)
class RegistryImages:
    """The images in the system registry, with the login of a user."""

    config: SystemConfig
    login: transport.Basic

    def repositories(self, project: str) -> Iterator[str]:
        """The repositories of a project.

        The login must have the right to list all repositories, as platform admins do.
        """
        token, last = self._token("registry:catalog:*"), ""
        while True:
            query = [("n", str(PAGE)), *([("last", last)] if last else [])]
            names = self._get("_catalog", token, query=query).get("repositories") or []
            yield from (name for name in names if str(name).startswith(f"{project}/"))
            if len(names) < PAGE:
                return
            last = str(names[-1])

    def tags(self, repository: str) -> list[Tagged]:
        """All tags of a repository; empty if the repository has none or does not exist."""
        token = self._token(f"repository:{repository}:pull")
        try:
            names = self._get(f"{repository}/tags/list", token).get("tags") or []
        except MissingError:
            return []
        return [self._tagged(repository, str(name), token) for name in names]

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest with all its tags. The next garbage collection deletes its data."""
        token = self._token(f"repository:{repository}:delete")
        answer = transport.send(
            "DELETE",
            f"{transport.origin(self.config.host)}/v2/{repository}/manifests/{digest}",
            auth=transport.Bearer(token),
        )
        transport.expect(answer, what=f"{self.config.host}: deleting {repository}", remedy="", ok=(202, 404))

    def _tagged(self, repository: str, name: str, token: SecretStr) -> Tagged:
        answer = self._send(f"{repository}/manifests/{name}", token, accept=MANIFESTS)
        digest = answer.headers.get("Docker-Content-Digest", "")
        manifest = answer.fields(what=f"{self.config.host}: {repository}:{name}")
        return Tagged(name, digest, self._created(repository, manifest, token))

    def _created(self, repository: str, manifest: Mapping[str, Any], token: SecretStr) -> datetime | None:
        try:
            if manifest.get("mediaType") in INDEXES:
                first = manifest["manifests"][0]["digest"]
                manifest = self._get(f"{repository}/manifests/{first}", token, accept=MANIFESTS)
            config = self._get(f"{repository}/blobs/{manifest['config']['digest']}", token)
            created = datetime.fromisoformat(str(config["created"]))
        except (KeyError, IndexError, TypeError, ValueError, MissingError):
            return None
        return created if created.tzinfo else created.replace(tzinfo=UTC)

    def _get(
        self,
        path: str,
        token: SecretStr,
        *,
        query: list[tuple[str, str]] | None = None,
        accept: str = "application/json",
    ) -> dict[str, Any]:
        answer = self._send(path, token, query=query, accept=accept)
        return dict(answer.fields(what=f"{self.config.host}: {path}"))

    def _send(
        self, path: str, token: SecretStr, *, query: list[tuple[str, str]] | None = None, accept: str
    ) -> transport.Answer:
        answer = transport.send(
            "GET",
            f"{transport.origin(self.config.host)}/v2/{path}",
            auth=transport.Bearer(token),
            headers={"Accept": accept},
            query=query or (),
        )
        return transport.expect(
            answer,
            what=f"{self.config.host}: reading {path}",
            remedy="ask for the group regcred-admins-P, or regcred-platform-admins",
        )

    def _token(self, scope: str) -> SecretStr:
        what = f"{self.config.token_url}: requesting a token for {scope}"
        answer = transport.send(
            "GET",
            f"{self.config.token_url}/token",
            auth=self.login,
            query=[("service", self.config.service), ("scope", scope)],
        )
        fields = transport.expect(answer, what=what, remedy="sign in to Vault again").fields(what=what)
        return SecretStr(transport.text_field(fields, "token", what=what))
