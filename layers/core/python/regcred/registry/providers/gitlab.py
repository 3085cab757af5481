"""GitLab's container registry and dependency proxy: tokens of a group or project in two slots.

Contracts: https://docs.gitlab.com/api/deploy_tokens/, https://docs.gitlab.com/api/group_access_tokens/,
https://docs.gitlab.com/api/project_access_tokens/ and
https://docs.gitlab.com/user/packages/dependency_proxy/. Access tokens are created and revoked, never
rotated: GitLab's rotation ends the old token at once, and a later use of it revokes all its successors.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, timedelta
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, model_validator

from regcred.registry import transport
from regcred.registry.definition import BaseDefinition, Host, Server, matching, server_host
from regcred.registry.interface import MintContext
from regcred.registry.named_tokens import NamedTokenProvider
from regcred.registry.token_expiry import at_time
from regcred.registry.token_slots import NamedToken, TokenVendor
from regcred.registry.transport import Answer, Bearer
from regcred.registry.upstream_secret import field_of

PAGE = 100
REPORTER = 20
"""The lowest role that can pull from a private registry: ``read_container_image`` needs ``reporter_access``
(gitlab: app/policies/project_policy.rb, and group_policy.rb for groups). A Guest pulls only public images."""
ACCESS_USERNAME = "regcred"

Path = Annotated[
    str, matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*", "a path of GitLab, as in group/subgroup")
]
"""The path of a group or project, as in GitLab's ``Gitlab::PathRegex``. It allows ``_`` and ``.`` anywhere.
GitLab's registry does not support a path that ends in one (https://gitlab.com/gitlab-org/gitlab/-/issues/27483)."""


class GitlabDefinition(BaseDefinition):
    """The images of a group or of one project."""

    summary: ClassVar[str] = (
        "GitLab's container registry and dependency proxy: tokens of a group or project, in two slots"
    )

    provider: Literal["gitlab"]

    server: Server = Field(
        default="gitlab.com",
        description=(
            "The GitLab server, which creates the tokens. Add the path if there is one (example.com/gitlab)."
        ),
    )

    host: Host = Field(default="registry.gitlab.com", description="The registry's host in image names.")

    group: Path = Field(
        default="", description="The group to pull images of, as in team/backend. Set this or 'project'."
    )

    project: Path = Field(
        default="", description="The project to pull images of, as in team/backend/app. Set this or 'group'."
    )

    tokens: Literal["deploy", "access"] = Field(
        default="deploy",
        description=(
            "'deploy': deploy tokens, which an owner of the group or a maintainer of the project can "
            "create. 'access': access tokens of the group or project with the role Reporter, which need a "
            "paid plan on gitlab.com."
        ),
    )

    dependency_proxy: bool = Field(
        default=False,
        description=(
            "Also allow pulls from the group's dependency proxy "
            "(gitlab.com/GROUP/dependency_proxy/containers/)."
        ),
    )

    lifetime_days: int = Field(
        default=14,
        ge=2,
        le=365,
        description="The lifetime of a token in days. It is renewed after half of that.",
    )

    @model_validator(mode="after")
    def _one_of(self) -> GitlabDefinition:
        if bool(self.group) == bool(self.project):
            raise ValueError("group: name either 'group' or 'project'")
        if self.dependency_proxy and not self.group:
            raise ValueError("dependency_proxy: needs 'group'; only groups have one")
        return self

    def typed_hosts(self) -> tuple[str, ...]:
        """The hosts of GitLab and of its registry, because both receive tokens."""
        return (server_host(self.server), self.host)

    def realms(self) -> tuple[str, ...]:
        """GitLab's host, which is the token service of its registry."""
        return (server_host(self.server),)

    def upstream_fields(self) -> dict[str, str]:
        """The token that creates tokens."""
        return {"token": f"an access token of {self.token_creator()}, with the scope api"}

    def token_creator(self) -> str:
        """The role in GitLab that may create the tokens."""
        return "an Owner of the group" if self.group else "a Maintainer or Owner of the project"


class GitlabProvider(NamedTokenProvider[GitlabDefinition]):
    """Mints a deploy token or an access token."""

    name = "gitlab"
    model = GitlabDefinition

    def vendor(self, definition: GitlabDefinition, context: MintContext) -> TokenVendor:
        """The tokens of the group or project, of the kind in the definition."""
        kind, path = ("groups", definition.group) if definition.group else ("projects", definition.project)
        return _GitlabTokens(definition, context, f"{kind}/{quote(path, safe='')}/{definition.tokens}_tokens")

    def keys(self, definition: GitlabDefinition) -> tuple[str, ...]:
        """The registry's host, and the group's part of the dependency proxy."""
        keys = definition.keys([definition.host])
        if not definition.dependency_proxy:
            return keys
        return (*keys, f"{definition.server}/{definition.group.lower()}/dependency_proxy/containers/")


class _GitlabTokens:
    """The deploy tokens or access tokens of a group or project."""

    name_max = 255

    def __init__(self, definition: GitlabDefinition, context: MintContext, owner: str) -> None:
        self._owner = owner
        self._url = f"{transport.origin(definition.server)}/api/v4/{owner}"
        self._definition = definition
        self._context = context
        self._auth = Bearer(field_of(context, "token"))

    @property
    def location(self) -> str:
        """The server, the group or project, and the kind of token."""
        return f"{self._definition.server} {self._owner}"

    def at(self, location: str) -> _GitlabTokens | None:
        """Another group or project of the same server."""
        server, _, owner = location.partition(" ")
        if server != self._definition.server:
            return None
        return _GitlabTokens(self._definition, self._context, owner)

    def tokens(self) -> Mapping[str, str]:
        """All active tokens, page by page."""
        found: dict[str, str] = {}
        for page in transport.pages(f"{self._definition.server}: listing tokens"):
            query = (("page", str(page)), ("per_page", str(PAGE)))
            answer = self._call("GET", self._url, "listing tokens", query=query)
            items = answer.items(field="tokens", what=f"{self._definition.server}: listing tokens")
            found |= {str(item["id"]): str(item.get("name", "")) for item in items if not item.get("revoked")}
            if not answer.headers.get("X-Next-Page"):
                break
        return found

    def create(self, name: str) -> NamedToken:
        """Create a token that reads the registry, and the dependency proxy if the definition enables it."""
        what = f"{self._definition.server}: creating a token"
        answer = self._call("POST", self._url, "creating a token", ok=(201,), document=self._wanted(name))
        fields = answer.fields(what=what)
        (item,) = transport.identified([fields], field="id", what=what)
        return NamedToken(
            id=str(item["id"]),
            username=self._username(fields, what=what),
            secret=SecretStr(transport.text_field(fields, "token", what=what)),
            expires_at=at_time(fields, "expires_at", what=what),
        )

    def _wanted(self, name: str) -> dict[str, Any]:
        ends = self._context.now().astimezone(UTC) + timedelta(days=self._definition.lifetime_days)
        virtual = ["read_virtual_registry"] if self._definition.dependency_proxy else []
        wanted = {"name": name, "scopes": ["read_registry", *virtual]}
        if self._is_access:  # its expiry is a date, and means the start of that day
            return {**wanted, "access_level": REPORTER, "expires_at": ends.date().isoformat()}
        return {**wanted, "expires_at": ends.isoformat(timespec="seconds")}

    @property
    def _is_access(self) -> bool:
        return self._owner.endswith("/access_tokens")

    def _username(self, fields: Mapping[str, Any], *, what: str) -> str:
        """The user name of a token. An access token works with any."""
        if self._is_access:
            return ACCESS_USERNAME
        return transport.text_field(fields, "username", what=what)

    def remove(self, token_id: str) -> None:
        """Delete a deploy token, or revoke an access token."""
        self._call("DELETE", f"{self._url}/{token_id}", "deleting a token", ok=(200, 204, 404))

    def _call(
        self, method: str, url: str, action: str, *, ok: tuple[int, ...] = (200,), **more: Any
    ) -> Answer:
        answer = transport.send(method, url, auth=self._auth, **more)
        remedy = (
            "check the path, and that the upstream secret's token has the scope api and belongs to "
            f"{self._definition.token_creator()}"
        )
        return transport.expect(answer, what=f"{self._definition.server}: {action}", remedy=remedy, ok=ok)
