"""Harbor: robots that pull, a new one each period, the old one removed at its next turn.

Contract: Harbor's API v2.0 as of 2.15.2 (github.com/goharbor/harbor, src/server/v2.0/handler/robot.go and
user.go, src/server/middleware/readonly). A robot's secret is never refreshed, since that cuts the old one at
once.

What that source says and this file relies on:

- A robot's name matches ``^[a-z0-9]+(?:[._-][a-z0-9]+)*$``, and the database takes 255 characters for
  project, ``+`` and name.
- A robot that makes robots must hold each permission that it gives. They are compared as text,
  ``resource:action:effect``, so an absent effect differs from ``allow``, which Terraform's provider writes.
- The read-only mode answers every change with 403 DENIED, as a missing permission does; ``/systeminfo`` tells
  them apart.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator

from regcred.errors import MalformedError, RefusedError, TransientError
from regcred.registry import transport
from regcred.registry.definition import inside, written
from regcred.registry.interface import MintContext
from regcred.registry.named_tokens import NamedTokenProvider, ServerDefinition
from regcred.registry.token_expiry import at_timestamp
from regcred.registry.token_slots import NamedToken
from regcred.registry.transport import Answer, Basic
from regcred.registry.upstream_secret import field_of

PAGE = 100

NAME_MAX = 255
"""The longest name of a robot, its project's included (column ``robot.name``)."""

PROJECT_MAX = 190
"""The maximum length of a project's name here. Harbor allows 255, but then a robot's name does not fit as
well."""

PULL_TOKENS = timedelta(minutes=30)
"""How long a pull token works by default (src/lib/config/metadata/metadatalist.go, ``token_expiration``)."""

HarborProject = Annotated[
    str,
    written(
        rf"(?=.{{1,{PROJECT_MAX}}}$)[a-z0-9]+(?:[._-][a-z0-9]+)*",
        "a project of Harbor: lower-case letters, digits and single . _ - between them, at most "
        f"{PROJECT_MAX} characters",
    ),
]
"""A project's name (src/pkg/project/manager.go, ``restrictedNameChars``)."""

NEEDED = (("robot", "create"), ("robot", "list"), ("robot", "delete"))
"""What the creator needs, in addition to reading the project and the permissions that it gives."""

PULL = ("repository", "pull")


class HarborDefinition(ServerDefinition):
    """The images of one project of Harbor, or of several in one login."""

    summary: ClassVar[str] = "Harbor: robot accounts that can only pull, in two slots"

    provider: Literal["harbor"]

    harbor_project: HarborProject = Field(default="", description="The Harbor project to pull images of.")

    harbor_projects: tuple[HarborProject, ...] = Field(
        default=(),
        description=(
            "Several Harbor projects for one login. This needs a system-level robot, which only a Harbor "
            "administrator or another system-level robot can create."
        ),
    )

    lifetime_days: int = Field(
        default=14,
        ge=2,
        le=365,
        description="The lifetime of a robot in days. It is renewed after half of that.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.harbor_project) == bool(self.harbor_projects):
            raise ValueError("harbor_project: name either 'harbor_project' or 'harbor_projects'")
        prefixes = [f"{project}/" for project in self.projects()]
        for scope in self.repositories:
            if not inside(scope, prefixes):
                raise ValueError(
                    f"repositories: {scope!r} is not in {', '.join(prefixes)}, so no robot of these "
                    "projects can pull it"
                )
        return self

    def projects(self) -> tuple[str, ...]:
        """The projects of Harbor without duplicates."""
        return tuple(dict.fromkeys(self.harbor_projects)) or (self.harbor_project,)

    def level(self) -> Literal["project", "system"]:
        """The level of its robots."""
        return "system" if self.harbor_projects else "project"

    def upstream_fields(self) -> dict[str, str]:
        """Who may make robots."""
        where = "of the whole system" if self.harbor_projects else "of the project"
        return {
            "username": (
                f"a user or a robot that may create, list and delete robots {where}; a robot must also "
                "hold repository:pull and project:read itself"
            ),
            "password": "its password or secret; the CLI secret of an OIDC user can't make robots",
        }

    def pull_tokens_outlive(self) -> timedelta:
        """Harbor's own setting ``token_expiration``: 30 minutes unless an administrator changed it."""
        return PULL_TOKENS

    def scopes(self) -> tuple[str, ...]:
        """The repositories named, or the whole projects."""
        return self.repositories or tuple(f"{project}/" for project in self.projects())

    def limits(self) -> tuple[str, ...]:
        """No check: a robot pulls whole projects, and Harbor gives an empty grant for an unknown project."""
        return ()


class HarborProvider(NamedTokenProvider[HarborDefinition]):
    """Mints a robot."""

    name = "harbor"
    model = HarborDefinition

    def vendor(self, definition: HarborDefinition, context: MintContext) -> Robots:
        """The robots of the project or of the system."""
        projects = definition.projects()
        return Robots(definition, context, projects[0] if definition.level() == "project" else "")

    def keys(self, definition: HarborDefinition) -> tuple[str, ...]:
        """Harbor's host."""
        return definition.keys([definition.host])


class Robots:
    """The robots of one project of Harbor, or those of the whole system."""

    def __init__(self, definition: HarborDefinition, context: MintContext, project: str) -> None:
        self._server = definition.api()
        self._api = f"{transport.origin(self._server)}/api/v2.0"
        self._definition = definition
        self._context = context
        self._project = project
        self._maker: Mapping[str, Any] | None = None
        """The upstream robot in the list, if the upstream secret is a robot's and the list has it."""
        self.name_max = NAME_MAX - len(f"{project}+")
        self._auth = Basic(field_of(context, "username").get_secret_value(), field_of(context, "password"))

    @property
    def location(self) -> str:
        """The server, and the project if there is one."""
        return f"{self._server} {self._project}".rstrip()

    def at(self, location: str) -> Robots | None:
        """Another project of the same Harbor, or its whole system."""
        server, _, project = location.partition(" ")
        return Robots(self._definition, self._context, project) if server == self._server else None

    def tokens(self) -> Mapping[str, str]:
        """All robots of the project or the system, page by page, without Harbor's prefix in their names."""
        query = (
            f"Level=project,ProjectID={self._project_id(self._project)}" if self._project else "Level=system"
        )
        found: dict[str, str] = {}
        for page in transport.pages(f"{self._server}, listing robots,"):
            answer = self._call(
                "GET",
                "robots",
                "listing robots",
                query=(("q", query), ("page", str(page)), ("page_size", str(PAGE))),
            )
            items = answer.items(field="robots", what=self._server)
            found |= {str(item["id"]): _bare(str(item.get("name", ""))) for item in items}
            self._maker = next(
                (item for item in items if item.get("name") == self._auth.username), self._maker
            )
            if len(items) < PAGE:
                break
        return found

    def create(self, name: str) -> NamedToken:
        """Create a robot that pulls.

        The creator's permissions are checked first. If it may create but not delete, the run would fail a
        week later.
        """
        self._check_maker()
        answer = self._create(name, effect="")
        if _denied(answer):
            answer = self._create(name, effect="allow")
        if _denied(answer) and not self._read_only():
            raise RefusedError(
                f"{self._server}, creating a robot, was answered with 403 DENIED: a robot can only give "
                "permissions that it holds itself; give the upstream robot repository:pull in the same "
                "projects"
            )
        self._expect(answer, "creating a robot", ok=(201,))
        fields = answer.fields(what=self._server)
        (item,) = transport.identified([fields], field="id", what=self._server)
        return NamedToken(
            id=str(item["id"]),
            username=transport.text_field(fields, "name", what=self._server),
            secret=SecretStr(transport.text_field(fields, "secret", what=self._server)),
            expires_at=at_timestamp(fields, "expires_at", what=self._server),
        )

    def remove(self, token_id: str) -> None:
        """Delete a robot."""
        self._call("DELETE", f"robots/{token_id}", "deleting a robot", ok=(200, 404))

    def _create(self, name: str, *, effect: str) -> Answer:
        access = {"resource": PULL[0], "action": PULL[1]} | ({"effect": effect} if effect else {})
        return self._send(
            "POST",
            "robots",
            document={
                "name": name,
                "description": f"Pulls of {self._context.reference}, renewed by Regcred",
                "level": self._definition.level(),
                "duration": self._definition.lifetime_days,
                "permissions": [
                    {"kind": "project", "namespace": project, "access": [access]}
                    for project in self._definition.projects()
                ],
            },
        )

    def _check_maker(self) -> None:
        if not self._project:
            self._check_own()
        for project in self._definition.projects():
            needed = (*NEEDED, PULL) if self._project else (PULL,)
            self._check_scope(f"/project/{self._project_id(project)}", f"the project {project}", needed)

    def _check_own(self) -> None:
        """Check a creator that is a system robot by its own list entry.

        The request below does not know such robots.
        """
        if self._maker is None:  # a user: Harbor lets only an administrator list these robots
            return
        held = {
            (access.get("resource"), access.get("action"))
            for permission in _mappings(self._maker.get("permissions"))
            if permission.get("kind") == "system"
            for access in _mappings(permission.get("access"))
        }
        self._check_held(held, "the whole system", NEEDED)

    def _check_scope(self, scope: str, where: str, needed: tuple[tuple[str, str], ...]) -> None:
        query = (("scope", scope), ("relative", "true"))
        answer = self._send("GET", "users/current/permissions", query=query)
        if answer.status != 200:  # noqa: PLR2004 - an older Harbor, or a proxy; the creation will show
            return
        held = {(item.get("resource"), item.get("action")) for item in answer.mappings()}
        self._check_held(held, where, needed)

    def _check_held(
        self, held: Container[tuple[Any, Any]], where: str, needed: tuple[tuple[str, str], ...]
    ) -> None:
        if lacking := [
            f"{resource}:{action}" for resource, action in needed if (resource, action) not in held
        ]:
            raise RefusedError(
                f"{self._server}: the upstream user lacks {', '.join(lacking)} in {where}; to make and "
                "remove robots it needs project:read, robot:create, robot:list, robot:delete and "
                "repository:pull"
            )

    def _project_id(self, project: str) -> int:
        headers = {"X-Is-Resource-Name": "true"}
        answer = self._call(
            "GET", f"projects/{project}", f"looking up the project {project}", headers=headers
        )
        found = answer.fields(what=self._server).get("project_id")
        if isinstance(found, int):
            return found
        raise MalformedError(f"{self._server} answered without 'project_id'", field="project_id")

    def _read_only(self) -> bool:
        answer = self._send("GET", "systeminfo")
        return answer.status == 200 and answer.fields(what=self._server).get("read_only") is True  # noqa: PLR2004

    def _call(
        self, method: str, path: str, action: str, *, ok: tuple[int, ...] = (200,), **more: Any
    ) -> Answer:
        return self._expect(self._send(method, path, **more), action, ok=ok)

    def _send(self, method: str, path: str, **more: Any) -> Answer:
        return transport.send(method, f"{self._api}/{path}", auth=self._auth, **more)

    def _expect(self, answer: Answer, action: str, *, ok: tuple[int, ...]) -> Answer:
        if _denied(answer) and self._read_only():
            raise TransientError(
                f"{self._server}, {action}: Harbor is in read-only mode; it will be tried again"
            )
        where = f"the project {self._project}" if self._project else "the whole system"
        remedy = (
            "check that the project exists and that the upstream user may create, list and delete robots "
            f"of {where}; Harbor answers 403 for a project that does not exist"
        )
        return transport.expect(answer, what=f"{self._server}, {action},", remedy=remedy, ok=ok)


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _denied(answer: Answer) -> bool:
    """Whether this is the refusal that the read-only mode and missing permissions share."""
    return answer.status == 403 and answer.code() == "DENIED"  # noqa: PLR2004


def _bare(name: str) -> str:
    """The name that the robot was created with, without Harbor's prefix.

    The prefix is ``robot$`` by default. For the robot of a project, the project's name and ``+`` follow it.
    """
    _, plus, after = name.rpartition("+")
    return after if plus else name[max(name.find("regcred-"), 0) :]
