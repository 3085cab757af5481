"""``regcred project``: manages what a project may use (``platform/projects/P``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import click

from regcred.cli import lookup
from regcred.cli.command_groups import CommandGroup
from regcred.cli.failures import BadInputError
from regcred.cli.output import output_option, print_json, print_table, say, write
from regcred.cli.parameters import CLUSTER, PROJECT, F, WholeNumber, all_of
from regcred.cli.session import CliSession, pass_session
from regcred.cli.validation import valid
from regcred.errors import MissingError, RefusedError
from regcred.image_name import normal_host
from regcred.vault.records.declared import ProjectPolicy


@click.group(
    cls=CommandGroup,
    help="""Define what a project may use: hosts, accounts, clusters.

    This is for platform admins. A project admin can add registries only within these bounds.
    """,
)
def project() -> None:
    """Group the commands of ``regcred project``."""


def _bounds_options(verb: str) -> Callable[[F], F]:
    return all_of(
        click.option("--host", "hosts", multiple=True, metavar="HOST", help=f"{verb} a registry host."),
        click.option(
            "--path",
            "paths",
            multiple=True,
            metavar="HOST/PREFIX",
            help=f"{verb} a path on a host.",
        ),
        click.option(
            "--account",
            "accounts",
            multiple=True,
            metavar="ID",
            help=f"{verb} an AWS account, Google project or Azure tenant.",
        ),
        click.option(
            "--cluster",
            "clusters",
            multiple=True,
            type=CLUSTER,
            metavar="C",
            help=f"{verb} a cluster that may read the project's credentials.",
        ),
    )


@project.command(
    short_help="Add a project, or extend what it may use.",
    help="""Add a project, or extend what it may use. You can repeat options.

    HOST may contain one '*' in each label, as in '*.jfrog.io'. Quote it for the shell. If you allow a path on
    a host, the project may use only the allowed paths on that host.

    \b
    Examples:
      regcred project add payments --host registry.example.com --cluster c1
      regcred project add payments --account 111122223333 \\
          --role-arn arn:aws:iam::999988887777:role/regcred/payments
    """,
)
@click.argument("project", type=PROJECT, metavar="P")
@_bounds_options("Allow")
@click.option("--role-arn", metavar="ARN", help="The project's IAM role (path /regcred/).")
@click.option(
    "--max-registries",
    type=WholeNumber(0, 1_000_000),
    metavar="NUMBER",
    help="The maximum number of registries. Default: 10000.",
)
@click.option("--replace", is_flag=True, help="Replace the stored bounds if they can't be read.")
@pass_session
def add(
    session: CliSession,
    /,
    project: str,
    role_arn: str | None,
    max_registries: int | None,
    replace: bool,
    **what: Sequence[str],
) -> None:
    """Run ``regcred project add``."""

    def change(old: ProjectPolicy | None) -> ProjectPolicy:
        if old and replace:
            raise BadInputError(
                f"--replace: the bounds of project {project} can be read; change them with 'add' and "
                "'remove', without --replace"
            )
        policy = old or ProjectPolicy()
        return valid(
            ProjectPolicy,
            hosts=_with_hosts(policy.hosts, what["hosts"]),
            paths=_paths_with(policy.paths, what["paths"]),
            accounts=_with(policy.accounts, what["accounts"]),
            clusters=_with(policy.clusters, what["clusters"]),
            role_arn=policy.role_arn if role_arn is None else role_arn,
            max_registries=policy.max_registries if max_registries is None else max_registries,
        )

    _check_hosts(what["hosts"])
    with _replaceable(project):
        session.store.change_project(project, change, replace_unreadable=replace)
    say(f"project {project} is set; 'regcred project show {project}' shows it")
    _ensure(session, project)


@project.command(
    short_help="Reduce what a project may use.",
    help="""Reduce what a project may use.

    Registries that need what you remove fail at their next rotation. Current credentials stay valid until
    they expire. To end one now, revoke it. If you remove the last path on a host, the project may use nothing
    on this host.
    """,
)
@click.argument("project", type=PROJECT, metavar="P")
@_bounds_options("Remove")
@pass_session
def remove(session: CliSession, /, project: str, **what: Sequence[str]) -> None:
    """Run ``regcred project remove``."""
    if not any(what.values()):
        raise BadInputError("nothing to remove: add --host, --path, --account or --cluster")

    def change(old: ProjectPolicy | None) -> ProjectPolicy:
        if old is None:
            raise lookup.no_such_project(session.store, project)
        return old.model_copy(
            update={
                "hosts": _without(old.hosts, _as_stored(old.hosts, what["hosts"]), "host", project),
                "paths": _paths_without(old.paths, what["paths"], project, hosts=what["hosts"]),
                "accounts": _without(old.accounts, what["accounts"], "account", project),
                "clusters": _without(old.clusters, what["clusters"], "cluster", project),
            }
        )

    with _replaceable(project):
        left = session.store.change_project(project, change)
    say(f"project {project} is set; 'regcred project show {project}' shows it")
    for host in sorted({host for host, _ in map(_split, what["paths"]) if left.paths.get(host) == []}):
        say(f"note: the project may use nothing on {host} now; to allow the whole host, remove and add it")
    if what["clusters"]:
        _ensure(session, project)


@project.command(name="list", help="List the projects.")
@output_option
@pass_session
def list_(session: CliSession, as_json: bool) -> None:
    """Run ``regcred project list``."""
    store = session.store
    policies = {
        name: lookup.readable(partial(store.project, name), f"project {name}")
        for name in store.project_policies()
    }
    found = {name: policy.value for name, policy in policies.items() if policy}
    if as_json:
        print_json({"projects": {name: _content(policy) for name, policy in found.items()}})
        return
    if not found:
        say(
            "there are no projects yet; add one: regcred project add payments --host registry.example.com "
            "--cluster c1"
        )
        return
    print_table(
        ["project", "hosts", "accounts", "clusters"],
        [
            [name, ", ".join(policy.hosts), ", ".join(policy.accounts), ", ".join(policy.clusters)]
            for name, policy in found.items()
        ],
    )


@project.command(help="Show what a project may use.")
@click.argument("project", type=PROJECT, metavar="P")
@output_option
@pass_session
def show(session: CliSession, project: str, as_json: bool) -> None:
    """Run ``regcred project show``."""
    with _replaceable(project):
        found = session.store.project(project)
    if found is None:
        raise lookup.no_such_project(session.store, project)
    policy = found.value
    if as_json:
        print_json({"project": project, **_content(policy)})
        return
    write(f"project   {project}")
    write(f"hosts     {', '.join(policy.hosts) or '- (only hosts that a vendor assigns)'}")
    for host, prefixes in policy.paths.items():
        write(f"paths     {host}: {', '.join(prefixes) or '- (none, so nothing on this host)'}")
    write(f"accounts  {', '.join(policy.accounts) or '-'}")
    write(f"clusters  {', '.join(policy.clusters) or '- (no cluster may read its credentials)'}")
    write(f"IAM role  {policy.role_arn or '-'}")
    write(f"limit     {policy.max_registries} registries")


def _replaceable(project: str) -> AbstractContextManager[None]:
    return lookup.replaceable(f"regcred project add {project} --replace, with all hosts and clusters")


def _ensure(session: CliSession, project: str) -> None:
    """Update Vault's groups and policies, which let a cluster read the project's credentials."""
    try:
        session.open_platform(None).ensure_project(project)
    except RefusedError:
        say(
            "next: a platform operator runs 'regcred platform apply', which gives the project's clusters "
            "and people access; your token may not do that"
        )


def _content(policy: ProjectPolicy) -> dict[str, Any]:
    return policy.model_dump(mode="json")


def _check_hosts(hosts: Iterable[str]) -> None:
    for host in hosts:
        if "://" in host or "/" in host:
            bare = host.split("://")[-1].split("/")[0]
            raise BadInputError(
                f"--host {host}: write only the host, as in {bare}; to limit paths, add --path {bare}/team"
            )


def _split(path: str) -> tuple[str, str]:
    host, slash, prefix = path.partition("/")
    if not slash or not host or not prefix:
        raise BadInputError(f"--path {path}: write HOST/PREFIX, as in registry.example.com/team")
    return host, prefix


def _with(old: Sequence[str], new: Iterable[str]) -> list[str]:
    return sorted({*old, *new})


def _with_hosts(old: Sequence[str], new: Iterable[str]) -> list[str]:
    """Add hosts, except those already allowed in another form (``index.docker.io``, or with port 443)."""
    known = set(map(normal_host, old))
    return _with(old, [host for host in new if host in old or normal_host(host) not in known])


def _as_stored(stored: Iterable[str], typed: Sequence[str]) -> list[str]:
    """The stored forms of the typed hosts. A host that is not stored stays unchanged."""
    stored = list(stored)
    found: list[str] = []
    for host in typed:
        same = [one for one in stored if normal_host(one) == normal_host(host)]
        found += [host] if host in same else same or [host]
    return found


def _without(old: Sequence[str], gone: Sequence[str], what: str, project: str) -> list[str]:
    unknown = [item for item in gone if item not in old]
    if unknown:
        raise MissingError(
            f"project {project} has no {what} {', '.join(unknown)}; it has {', '.join(old) or 'none'}"
        )
    return [item for item in old if item not in gone]


def _paths_with(old: Mapping[str, Sequence[str]], new: Iterable[str]) -> dict[str, list[str]]:
    paths = {host: list(prefixes) for host, prefixes in old.items()}
    for typed, prefix in map(_split, new):
        # The paths of all forms of a host count together, so one form is enough.
        (host,) = _as_stored(paths, [typed])[:1]
        paths[host] = _with(paths.get(host, []), [prefix])
    return paths


def _paths_without(
    old: Mapping[str, Sequence[str]], gone: Iterable[str], project: str, *, hosts: Sequence[str]
) -> dict[str, list[str]]:
    """The remaining paths by host.

    A host keeps an empty list after its last path is removed. Without the list, the whole host would be
    allowed.

    Args:
        old: The current paths.
        gone: The paths to remove.
        project: The project's name for errors.
        hosts: The hosts that the same command removes.
    """
    paths = {host: list(prefixes) for host, prefixes in old.items()}
    for typed, prefix in map(_split, gone):
        (host,) = _as_stored(paths, [typed])[:1]
        paths[host] = _without(paths.get(host, []), [prefix], f"path under {host}", project)
    removed = set(map(normal_host, hosts))
    return {
        host: prefixes for host, prefixes in paths.items() if prefixes or normal_host(host) not in removed
    }
