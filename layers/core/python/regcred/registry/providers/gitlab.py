"""GitLab's container registry: deploy tokens of a group or project, renewed A/B.

Contract: https://docs.gitlab.com/api/deploy_tokens/. Access tokens are not used: rotating one cuts the old at once, and
using a rotated one ends the whole family.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, model_validator

from regcred.registry import transport
from regcred.registry.definition import BaseDefinition, Host, Server, server_host, written
from regcred.registry.interface import MintContext
from regcred.registry.named_tokens import NamedTokenProvider
from regcred.registry.slots import Token, TokenVendor
from regcred.registry.tokens import at_time
from regcred.registry.transport import Answer, Bearer
from regcred.registry.upstream import field_of

PAGE = 100

Path = Annotated[
    str, written(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*", "a path of GitLab, as in group/subgroup")
]


class GitlabDefinition(BaseDefinition):
    """The images of a group or of one project."""

    provider: Literal["gitlab"]

    server: Server = "gitlab.com"
    """GitLab itself, which makes the tokens; with its path if it lies under one (``example.com/gitlab``)."""

    host: Host = "registry.gitlab.com"
    """The registry's host as it stands in image names."""

    group: Path = ""
    """The group whose images to pull, as in team/backend; or name a project."""

    project: Path = ""
    """The project whose images to pull, as in team/backend/app; or name a group."""

    lifetime_days: int = Field(default=14, ge=2, le=365)
    """How long a token shall live, in days; it is renewed at half of that."""

    @model_validator(mode="after")
    def _one_of(self) -> GitlabDefinition:
        if bool(self.group) == bool(self.project):
            raise ValueError("group: name either 'group' or 'project'")
        return self

    def typed_hosts(self) -> tuple[str, ...]:
        """GitLab and its registry: both receive tokens."""
        return (server_host(self.server), self.host)

    def realms(self) -> tuple[str, ...]:
        """GitLab is the token service of its registry."""
        return (server_host(self.server),)

    def upstream_fields(self) -> dict[str, str]:
        """Who may make deploy tokens."""
        return {"token": "an access token with the scope api, of an owner or maintainer"}


class GitlabProvider(NamedTokenProvider[GitlabDefinition]):
    """Mints a deploy token."""

    name = "gitlab"
    model = GitlabDefinition

    def vendor(self, definition: GitlabDefinition, context: MintContext) -> TokenVendor:
        """The deploy tokens of the group or project."""
        kind, path = ("groups", definition.group) if definition.group else ("projects", definition.project)
        return _DeployTokens(definition, context, f"{kind}/{quote(path, safe='')}")

    def keys(self, definition: GitlabDefinition) -> tuple[str, ...]:
        """The registry's host."""
        return definition.keys([definition.host])


class _DeployTokens:
    """The deploy tokens of a group or project."""

    name_max = 255

    def __init__(self, definition: GitlabDefinition, context: MintContext, owner: str) -> None:
        self._owner = owner
        self._url = f"{transport.origin(definition.server)}/api/v4/{owner}/deploy_tokens"
        self._definition = definition
        self._context = context
        self._auth = Bearer(field_of(context, "token"))

    @property
    def place(self) -> str:
        """The server, and the group or project."""
        return f"{self._definition.server} {self._owner}"

    def at(self, place: str) -> _DeployTokens | None:
        """Another group or project of the same server."""
        server, _, owner = place.partition(" ")
        if server != self._definition.server:
            return None
        return _DeployTokens(self._definition, self._context, owner)

    def tokens(self) -> Mapping[str, str]:
        """All deploy tokens that are active, page by page."""
        found: dict[str, str] = {}
        for page in transport.pages(f"{self._definition.server}, listing deploy tokens,"):
            query = (("page", str(page)), ("per_page", str(PAGE)))
            answer = self._call("GET", self._url, "listing deploy tokens", query=query)
            items = answer.items(field="deploy_tokens", what=self._definition.server)
            found |= {str(item["id"]): str(item.get("name", "")) for item in items if not item.get("revoked")}
            if not answer.headers.get("X-Next-Page"):
                break
        return found

    def create(self, name: str) -> Token:
        """Create a deploy token that reads the registry."""
        what = self._definition.server
        expires_at = self._context.now().astimezone(UTC) + timedelta(days=self._definition.lifetime_days)
        answer = self._call(
            "POST",
            self._url,
            "creating a deploy token",
            ok=(201,),
            document={
                "name": name,
                "scopes": ["read_registry"],
                "expires_at": expires_at.isoformat(timespec="seconds"),
            },
        )
        fields = answer.fields(what=what)
        (item,) = transport.identified([fields], field="id", what=what)
        return Token(
            id=str(item["id"]),
            username=transport.text_field(fields, "username", what=what),
            secret=SecretStr(transport.text_field(fields, "token", what=what)),
            expires_at=at_time(fields, "expires_at", what=what),
        )

    def remove(self, token_id: str) -> None:
        """Delete a deploy token."""
        self._call("DELETE", f"{self._url}/{token_id}", "deleting a deploy token", ok=(200, 204, 404))

    def _call(
        self, method: str, url: str, action: str, *, ok: tuple[int, ...] = (200,), **more: Any
    ) -> Answer:
        answer = transport.send(method, url, auth=self._auth, **more)
        remedy = "check the path, and that the upstream secret's token has the scope api and the role Owner or Maintainer"
        return transport.expect(answer, what=f"{self._definition.server}, {action},", remedy=remedy, ok=ok)
