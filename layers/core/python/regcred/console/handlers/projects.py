"""The projects: what each may use, its registries, and the members of its groups."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import ValidationError
from starlette.responses import Response

from regcred.console.console import Visit
from regcred.console.handlers.clusters import may_write
from regcred.console.interface import Member, project_groups
from regcred.errors import MalformedError, MissingError, RefusedError
from regcred.registry_reference import check_label
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.document import malformed
from regcred.vault.records.paths import project_path

NAME_MAX = 250
"""The maximum length of a member's name that is sent to Vault."""

ROWS = 100
"""The number of registries on the page of one project."""


def projects(visit: Visit) -> Response:
    """Show all projects that the person may see."""
    fleet = visit.fleet()
    counts = {name: len(project.rows) for name, project in fleet.projects.items()}
    return visit.page("projects.html", fleet=fleet, counts=counts, may_add=fleet.whole and _may_add(visit))


def _may_add(visit: Visit) -> bool:
    return may_write(visit, project_path("new"))


def project(visit: Visit) -> Response:
    """Show one project."""
    return _project(visit)


def _project(visit: Visit, *, status: int = 200, error: str = "") -> Response:
    name = _label(visit.named("project"))
    found = visit.reader.project(name)
    if found.policy is None and not found.defined and not found.entries and not found.problems:
        raise MissingError("there is no such project")
    return visit.page(
        "project.html",
        status=status,
        project=found,
        rows=found.rows[:ROWS],
        more_rows=max(0, len(found.rows) - ROWS),
        groups=visit.access.groups(name),
        system=visit.access.system_registry(),
        may_edit=may_write(visit, project_path(name)),
        may_change_groups=visit.access.may_change_groups(name),
        is_derived=is_derived,
        error=error,
        form=visit.form,
    )


def is_derived(member: str) -> bool:
    """Whether a member is a cluster, which is a member because of the bounds of the project."""
    return member.startswith("regcred-")


def members(visit: Visit) -> Response:
    """Add a person or a group to a group of the project, or remove one."""
    name, form = _label(visit.named("project")), visit.form
    group, member = form.get("group"), form.get("member")
    kind = Member.GROUP if form.get("kind") == Member.GROUP else Member.PERSON
    if group not in project_groups(name):
        raise MissingError("there is no such group")
    try:
        if not member or len(member) > NAME_MAX:
            raise MalformedError("enter the name of a person or a group", field="member")
        if is_derived(member):
            raise MalformedError(
                "clusters become members through the bounds of the project, and groups of Regcred can't "
                "contain each other",
                field="member",
            )
        visit.access.change_group(group, kind, member, take=form.get("change") == "remove")
    except MalformedError as error:
        return _project(visit, status=422, error=str(error))
    return visit.go(f"/projects/{name}#people")


def _label(name: str) -> str:
    try:
        return check_label(name, field="project")
    except MalformedError as error:
        raise MissingError(str(error)) from None


_LISTS = ("hosts", "accounts", "clusters")


def edit_form(visit: Visit) -> Response:
    """Show the form for what a project may use."""
    name = visit.request.path_params.get("project", "")
    saved = visit.saved_form()
    if name and not saved:
        _label(name)
        return _form(visit, name, _text(visit, name))
    if not name and not visit.fleet().whole:
        raise RefusedError("only platform admins may add projects")
    values = {field: saved.whole(field) for field in (*_LISTS, "paths", "role_arn", "name")} if saved else {}
    return _form(visit, name, values)


def _text(visit: Visit, name: str) -> dict[str, str]:
    found = visit.access.store.project(name)
    policy = found.value if found else ProjectPolicy()
    values = {field: "\n".join(getattr(policy, field)) for field in _LISTS}
    paths = "\n".join(f"{host}/{prefix}" for host, prefixes in policy.paths.items() for prefix in prefixes)
    return values | {
        "paths": paths,
        "role_arn": policy.role_arn,
        "version": str(found.version if found else 0),
    }


def _form(
    visit: Visit, name: str, values: Mapping[str, str], *, status: int = 200, error: str = ""
) -> Response:
    return visit.page("project-edit.html", status=status, name=name, values=values, error=error)


def edit(visit: Visit) -> Response:
    """Write what a project may use."""
    form = visit.form
    name = visit.request.path_params.get("project") or form.get("name")
    values = {field: form.whole(field) for field in (*_LISTS, "paths", "role_arn", "name", "version")}
    shown = visit.request.path_params.get("project", "")
    try:
        check_label(name, field="project")
        policy = _policy(values, name)
    except MalformedError as error:
        return _form(visit, shown, values, status=422, error=str(error))
    version = form.get("version") or "0"
    current = visit.access.store.project(name)
    if not version.isdecimal() or int(version) != (current.version if current else 0):
        text = (
            "a project of this name exists already"
            if not shown
            else "somebody else has changed this project since you opened it"
        )
        values["version"] = str(current.version if current else 0)
        return _form(
            visit,
            shown,
            values,
            status=409,
            error=f"{text}; compare it with your input below, and send it again",
        )
    owner = current.owner if current else ""
    visit.access.store.write_project(name, policy, cas=int(version), owner=owner)
    return visit.go(f"/projects/{name}")


def _policy(values: Mapping[str, str], name: str) -> ProjectPolicy:
    paths: dict[str, list[str]] = {}
    for item in _items(values["paths"]):
        host, slash, prefix = item.partition("/")
        if not slash or not prefix:
            raise MalformedError(
                f"paths: {item[:80]!r}: write HOST/PREFIX, as in registry.example.com/team", field="paths"
            )
        paths.setdefault(host, []).append(prefix)
    try:
        return ProjectPolicy(
            paths=paths,
            role_arn=values["role_arn"].strip(),
            **{field: sorted(set(_items(values[field]))) for field in _LISTS},
        )
    except ValidationError as error:
        raise malformed(error, where=name) from None


def _items(text: str) -> list[str]:
    return [item for item in re.split(r"[\s,]+", text) if item]
