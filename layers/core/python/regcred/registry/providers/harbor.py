"""Harbor: robot accounts that can only pull, in two slots.

Contract: Harbor's API v2.0 as of 2.15.2 (github.com/goharbor/harbor, src/server/v2.0/handler/robot.go and
user.go, src/server/middleware/readonly). A robot's secret is never refreshed, because that ends the old
secret at once.

This file relies on these facts from that source:

- A robot's name matches ``^[a-z0-9]+(?:[._-][a-z0-9]+)*$``. The database has 255 characters for project,
  ``+`` and name.
- A robot that creates robots must have each permission that it gives. Harbor compares permissions as text,
  ``resource:action:effect``. So an absent effect differs from ``allow``, which Terraform's provider writes.
- In read-only mode, Harbor answers every change with 403 DENIED, as for a missing permission. ``/systeminfo``
  shows the mode.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator

from regcred.errors import MalformedError, RefusedError, TransientError
from regcred.registry import transport
from regcred.registry.definition import inside, matching
from regcred.registry.interface import MintContext
from regcred.registry.named_tokens import NamedTokenProvider, ServerDefinition
from regcred.registry.token_expiry import at_timestamp
from regcred.registry.token_slots import NamedToken
from regcred.registry.transport import Answer, Basic
from regcred.registry.upstream_secret import field_of

PAGE = 100

NAME_MAX = 255
"""The maximum length of a robot's name with its project's (column ``robot.name``)."""

PROJECT_MAX = 190
"""The maximum length of a project's name. Harbor allows 255, but then no robot's name fits into
:data:`NAME_MAX`."""

PULL_TOKENS = timedelta(minutes=30)
"""How long a pull token works by default (src/lib/config/metadata/metadatalist.go, ``token_expiration``)."""

HarborProject = Annotated[
    str,
    matching(
        rf"(?=.{{1,{PROJECT_MAX}}}$)[a-z0-9]+(?:[._-][a-z0-9]+)*",
        "a project of Harbor: lower-case letters, digits and single . _ - between them, at most "
        f"{PROJECT_MAX} characters",
    ),
]
"""A project's name (src/pkg/project/manager.go, ``restrictedNameChars``)."""

NEEDED = (("robot", "create"), ("robot", "list"), ("robot", "delete"))
"""The permissions of the creator, in addition to reading the project and the permissions that it gives."""

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
                    f"repositories: {scope!r} is not in {', '.join(prefixes)}, so the robot can't pull it"
                )
        return self

    def projects(self) -> tuple[str, ...]:
        """The Harbor projects without duplicates."""
        return tuple(dict.fromkeys(self.harbor_projects)) or (self.harbor_project,)

    def level(self) -> Literal["project", "system"]:
        """The level of its robots."""
        return "system" if self.harbor_projects else "project"

    def upstream_fields(self) -> dict[str, str]:
        """The login that creates robots."""
        where = "of the whole system" if self.harbor_projects else "of the project"
        return {
            "username": (
                f"a user or a robot that may create, list and delete robots {where}; a robot must also "
                "have repository:pull and project:read itself"
            ),
            "password": "its password or secret; the CLI secret of an OIDC user can't create robots",
        }

    def pull_tokens_outlive(self) -> timedelta:
        """The default of Harbor's setting ``token_expiration``. An administrator may have changed it."""
        return PULL_TOKENS

    def scopes(self) -> tuple[str, ...]:
        """The named repositories, or the whole projects."""
        return self.repositories or tuple(f"{project}/" for project in self.projects())

    def limits(self) -> tuple[str, ...]:
        """No check: a robot can pull whole projects, and for an unknown project Harbor grants nothing."""
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
        self._creator: Mapping[str, Any] | None = None
        """The list's entry of the upstream secret's robot, if it is a robot and in the list."""
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
        for page in transport.pages(f"{self._server}: listing robots"):
            answer = self._call(
                "GET",
                "robots",
                "listing robots",
                query=(("q", query), ("page", str(page)), ("page_size", str(PAGE))),
            )
            items = answer.items(field="robots", what=f"{self._server}: listing robots")
            found |= {str(item["id"]): _bare(str(item.get("name", ""))) for item in items}
            self._creator = next(
                (item for item in items if item.get("name") == self._auth.username), self._creator
            )
            if len(items) < PAGE:
                break
        return found

    def create(self, name: str) -> NamedToken:
        """Create a robot that can pull.

        The creator's permissions are checked first. If it may create robots but not delete them, the rotation
        would only fail a week later.
        """
        self._check_creator()
        answer = self._create(name, effect="")
        if _denied(answer):
            answer = self._create(name, effect="allow")
        if _denied(answer) and not self._read_only():
            raise RefusedError(
                f"{self._server}: creating a robot failed with 403 DENIED: a robot can only give permissions "
                "that it has itself; give the upstream robot repository:pull in the same projects"
            )
        self._expect(answer, "creating a robot", ok=(201,))
        what = f"{self._server}: creating a robot"
        fields = answer.fields(what=what)
        (item,) = transport.identified([fields], field="id", what=what)
        return NamedToken(
            id=str(item["id"]),
            username=transport.text_field(fields, "name", what=what),
            secret=SecretStr(transport.text_field(fields, "secret", what=what)),
            expires_at=at_timestamp(fields, "expires_at", what=what),
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

    def _check_creator(self) -> None:
        if not self._project:
            self._check_system_robot()
        for project in self._definition.projects():
            needed = (*NEEDED, PULL) if self._project else (PULL,)
            self._check_scope(f"/project/{self._project_id(project)}", f"the project {project}", needed)

    def _check_system_robot(self) -> None:
        """Check a creator that is a system robot by its list entry.

        ``users/current/permissions`` does not support such robots.
        """
        if self._creator is None:  # a user: Harbor lets only an administrator list these robots
            return
        held = {
            (access.get("resource"), access.get("action"))
            for permission in _mappings(self._creator.get("permissions"))
            if permission.get("kind") == "system"
            for access in _mappings(permission.get("access"))
        }
        self._check_held(held, "the whole system", NEEDED)

    def _check_scope(self, scope: str, where: str, needed: tuple[tuple[str, str], ...]) -> None:
        query = (("scope", scope), ("relative", "true"))
        answer = self._send("GET", "users/current/permissions", query=query)
        if answer.status != 200:  # noqa: PLR2004 - an older Harbor, or a proxy: try to create the robot
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
                f"{self._server}: the upstream user lacks {', '.join(lacking)} in {where}; to create and "
                "delete robots it needs project:read, robot:create, robot:list, robot:delete and "
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
        raise MalformedError(f"{self._server}: the response has no 'project_id'", field="project_id")

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
            raise TransientError(f"{self._server}: {action}: Harbor is in read-only mode; it will be retried")
        where = f"the project {self._project}" if self._project else "the whole system"
        remedy = (
            "check that the project exists and that the upstream user may create, list and delete robots "
            f"of {where}; Harbor answers 403 for a project that does not exist"
        )
        return transport.expect(answer, what=f"{self._server}: {action}", remedy=remedy, ok=ok)


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _denied(answer: Answer) -> bool:
    """Whether this is the refusal of the read-only mode or of a missing permission."""
    return answer.status == 403 and answer.code() == "DENIED"  # noqa: PLR2004


def _bare(name: str) -> str:
    """The name with which the robot was created, without Harbor's prefix.

    The prefix is ``robot$`` by default, followed by the project's name and ``+`` for a project's robot.
    """
    _, plus, after = name.rpartition("+")
    return after if plus else name[max(name.find("regcred-"), 0) :]
