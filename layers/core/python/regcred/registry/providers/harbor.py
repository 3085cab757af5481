"""Harbor: robots of a project, a new one each period, the old one removed at its next turn.

Contract: Harbor's API v2.0 (github.com/goharbor/harbor, src/server/v2.0/handler/robot.go). A robot's secret is never
refreshed, since that cuts the old one at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from regcred.credential import Credential
from regcred.errors import MalformedError
from regcred.registry import transport
from regcred.registry.definition import BaseDefinition, Host, require_inside, written
from regcred.registry.interface import IssuedCredential, MintContext, Revoked
from regcred.registry.slots import Token, end_tokens, renew_token
from regcred.registry.tokens import at_timestamp
from regcred.registry.transport import Answer, Basic
from regcred.registry.upstream import field_of

PAGE = 100

PULL_TOKENS = timedelta(minutes=30)
"""How long a pull token works by default (src/lib/config/metadata/metadatalist.go, ``token_expiration``)."""


class HarborDefinition(BaseDefinition):
    """The images of one project of Harbor."""

    provider: Literal["harbor"]

    host: Host
    """Harbor's host, as it stands in image names."""

    harbor_project: Annotated[
        str,
        written(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", "a project of Harbor: lower-case letters, digits and . _ -"),
    ]
    """The project of Harbor whose images to pull."""

    lifetime_days: int = Field(default=14, ge=2, le=365)
    """How long a robot shall live, in days; it is renewed at half of that."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        require_inside(self, f"{self.harbor_project}/", by="harbor_project")
        return self

    def typed_hosts(self) -> tuple[str, ...]:
        """Harbor."""
        return (self.host,)

    def upstream_fields(self) -> dict[str, str]:
        """Who may make robots."""
        return {"username": "a user or robot that may make robots", "password": "its password or secret"}

    def pull_tokens_outlive(self) -> timedelta:
        """Harbor's own setting ``token_expiration``: 30 minutes unless an administrator changed it."""
        return PULL_TOKENS

    def scopes(self) -> tuple[str, ...]:
        """The repositories named, or the whole project: a robot of it can pull nothing else."""
        return self.repositories or (f"{self.harbor_project}/",)


class HarborProvider:
    """Mints a robot."""

    name = "harbor"
    model = HarborDefinition

    def mint(self, definition: HarborDefinition, context: MintContext) -> Credential:
        """Renew the slot that is not in force; see :class:`regcred.registry.interface.Provider`."""
        token = renew_token(_Robots(definition, context), context)
        keys = definition.keys([definition.host])
        return token.credential(provider=self.name, keys=keys, issued_at=context.now())

    def revoke(self, definition: HarborDefinition, issued: IssuedCredential, context: MintContext) -> Revoked:
        """Delete the robot and the one before it."""
        end_tokens(_Robots(definition, context), issued.revocation_id, context)
        return Revoked.YES


class _Robots:
    """The robots of a project of Harbor."""

    def __init__(self, definition: HarborDefinition, context: MintContext) -> None:
        self._api = f"{transport.origin(definition.host)}/api/v2.0"
        self._definition = definition
        self._context = context
        self._auth = Basic(field_of(context, "username").get_secret_value(), field_of(context, "password"))

    def tokens(self) -> Mapping[str, str]:
        """All robots of the project, page by page; without the prefix that Harbor gives their names."""
        found: dict[str, str] = {}
        query = f"Level=project,ProjectID={self._project_id()}"
        for page in transport.pages(f"{self._definition.host}, listing robots,"):
            answer = self._call(
                "GET",
                "robots",
                "listing robots",
                query=(("q", query), ("page", str(page)), ("page_size", str(PAGE))),
            )
            items = answer.items(field="robots", what=self._definition.host)
            found |= {str(item["id"]): str(item.get("name", "")).rpartition("+")[2] for item in items}
            if len(items) < PAGE:
                break
        return found

    def _project_id(self) -> int:
        project = self._definition.harbor_project
        headers = {"X-Is-Resource-Name": "true"}
        fields = self._call("GET", f"projects/{project}", "looking up the project", headers=headers).fields(
            what=self._definition.host
        )
        if isinstance(found := fields.get("project_id"), int):
            return found
        raise MalformedError(f"{self._definition.host} answered without 'project_id'", field="project_id")

    def create(self, name: str) -> Token:
        """Create a robot that pulls from the project."""
        what = self._definition.host
        access = [{"resource": "repository", "action": "pull"}]
        answer = self._call(
            "POST",
            "robots",
            "creating a robot",
            ok=(201,),
            document={
                "name": name,
                "description": f"Pulls of {self._context.reference}, renewed by Regcred",
                "level": "project",
                "duration": self._definition.lifetime_days,
                "permissions": [
                    {"kind": "project", "namespace": self._definition.harbor_project, "access": access}
                ],
            },
        )
        fields = answer.fields(what=what)
        (item,) = transport.identified([fields], field="id", what=what)
        return Token(
            id=str(item["id"]),
            username=transport.text_field(fields, "name", what=what),
            secret=SecretStr(transport.text_field(fields, "secret", what=what)),
            expires_at=at_timestamp(fields, "expires_at", what=what),
        )

    def remove(self, token_id: str) -> None:
        """Delete a robot."""
        self._call("DELETE", f"robots/{token_id}", "deleting a robot", ok=(200, 404))

    def _call(
        self, method: str, path: str, action: str, *, ok: tuple[int, ...] = (200,), **more: Any
    ) -> Answer:
        answer = transport.send(method, f"{self._api}/{path}", auth=self._auth, **more)
        remedy = f"check that the upstream user may make robots in {self._definition.harbor_project}"
        return transport.expect(answer, what=f"{self._definition.host}, {action},", remedy=remedy, ok=ok)
