"""``regcred project``: what a project may use (``platform/projects/P``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import click

from regcred.cli import lookup
from regcred.cli.failures import BadInputError
from regcred.cli.groups import CommandGroup
from regcred.cli.output import output_option, print_json, print_table, say, write
from regcred.cli.parameters import CLUSTER, PROJECT, F, all_of
from regcred.cli.session import CliSession, pass_session
from regcred.cli.validation import valid
from regcred.errors import MissingError, RefusedError
from regcred.image_name import registry_of
from regcred.vault.records.declared import ProjectPolicy


@click.group(
    cls=CommandGroup,
    help="""Define what a project may use: hosts, accounts, clusters.

    This is for platform admins. A project admin can then add registries within these limits, and no others.
    """,
)
def project() -> None:
    """Group the commands of ``regcred project``."""


def _what(verb: str) -> Callable[[F], F]:
    return all_of(
        click.option("--host", "hosts", multiple=True, metavar="HOST", help=f"{verb} a registry host."),
        click.option(
            "--path",
            "paths",
            multiple=True,
            metavar="HOST/PREFIX",
            help=f"{verb} a path to which a host is limited.",
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
    help="""Allow a project to use something, and create the project if it is new. You can repeat options.

    HOST may contain one '*' in each label, as in '*.jfrog.io'. Quote it for the shell.

    \b
    Examples:
      regcred project add payments --host registry.example.com --cluster c1
      regcred project add payments --account 111122223333 \\
          --role-arn arn:aws:iam::999988887777:role/regcred/payments
    """
)
@click.argument("project", type=PROJECT, metavar="P")
@_what("Allow")
@click.option("--role-arn", metavar="ARN", help="The project's own IAM role (path /regcred/).")
@click.option(
    "--max-registries",
    type=click.IntRange(0, 1_000_000),
    metavar="NUMBER",
    help="The maximum number of registries. Default: 10000.",
)
@click.option("--replace", is_flag=True, help="Start over if the document can't be read.")
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
                f"--replace: what project {project} may use can be read; change it by 'add' and 'remove' "
                "without it"
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
    help="""Take something away from a project.

    Registries that need it fail at their next rotation. Current credentials stay valid until they expire. To
    end one now, revoke it. If you take away the last path of a host, the project may use nothing on this
    host.
    """
)
@click.argument("project", type=PROJECT, metavar="P")
@_what("Take away")
@pass_session
def remove(session: CliSession, /, project: str, **what: Sequence[str]) -> None:
    """Run ``regcred project remove``."""
    if not any(what.values()):
        raise BadInputError("nothing to take away: give --host, --path, --account or --cluster")

    def change(old: ProjectPolicy | None) -> ProjectPolicy:
        if old is None:
            raise MissingError(f"there is no project {project}; 'regcred project list' shows those there are")
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
        say(
            f"note: nothing of {host} may be used now; to allow it whole, take the host away and add it again"
        )
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
            "there are no projects yet; make one: regcred project add payments --host registry.example.com "
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
        raise MissingError(f"there is no project {project}; 'regcred project list' shows those there are")
    policy = found.value
    if as_json:
        print_json({"project": project, **_content(policy)})
        return
    write(f"project   {project}")
    write(f"hosts     {', '.join(policy.hosts) or '- (only registries whose hosts come from the vendor)'}")
    for host, prefixes in policy.paths.items():
        write(f"paths     {host}: {', '.join(prefixes) or '- (none, so nothing of it)'}")
    write(f"accounts  {', '.join(policy.accounts) or '-'}")
    write(f"clusters  {', '.join(policy.clusters) or '- (no cluster may read its credentials)'}")
    write(f"IAM role  {policy.role_arn or '-'}")
    write(f"limit     {policy.max_registries} registries")


def _replaceable(project: str) -> AbstractContextManager[None]:
    return lookup.replaceable(f"regcred project add {project} --replace, with all that it may use")


def _ensure(session: CliSession, project: str) -> None:
    """Update Vault's groups and policies, which let a cluster read the project's credentials."""
    try:
        session.open_platform(None).ensure_project(project)
    except RefusedError:
        say(
            "next: a platform operator runs 'regcred platform apply', which lets the project's clusters "
            "and people in; your token may not do that"
        )


def _content(policy: ProjectPolicy) -> dict[str, Any]:
    return policy.model_dump(mode="json")


def _check_hosts(hosts: Iterable[str]) -> None:
    for host in hosts:
        if "://" in host or "/" in host:
            bare = host.split("://")[-1].split("/")[0]
            raise BadInputError(
                f"--host {host}: give the host alone, as in {bare}; limit paths by --path {bare}/team"
            )


def _split(path: str) -> tuple[str, str]:
    host, slash, prefix = path.partition("/")
    if not slash or not host or not prefix:
        raise BadInputError(f"--path {path}: write HOST/PREFIX, as in registry.example.com/team")
    return host, prefix


def _with(old: Sequence[str], new: Iterable[str]) -> list[str]:
    return sorted({*old, *new})


def _with_hosts(old: Sequence[str], new: Iterable[str]) -> list[str]:
    """The hosts of both.

    A host that is already allowed in another form (``index.docker.io``, a port 443) is not added.
    """
    known = set(map(registry_of, old))
    return _with(old, [host for host in new if host in old or registry_of(host) not in known])


def _as_stored(stored: Iterable[str], typed: Sequence[str]) -> list[str]:
    """The stored forms of hosts; a host that is not stored stays as it is."""
    stored = list(stored)
    found: list[str] = []
    for host in typed:
        same = [one for one in stored if registry_of(one) == registry_of(host)]
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
        # All forms of a host limit it together. The typed form is there as well, because it may be Docker
        # Hub's other name.
        (host,) = _as_stored(paths, [typed])[:1]
        paths[host] = _with(paths.get(host, []), [prefix])
    return paths


def _paths_without(
    old: Mapping[str, Sequence[str]], gone: Iterable[str], project: str, *, hosts: Sequence[str]
) -> dict[str, list[str]]:
    """The remaining paths.

    Without any path, a host would be allowed completely. So it stays limited, to nothing.

    Args:
        old: The current paths.
        gone: The paths to remove.
        project: For the error text.
        hosts: The hosts that are removed as well.
    """
    paths = {host: list(prefixes) for host, prefixes in old.items()}
    for typed, prefix in map(_split, gone):
        (host,) = _as_stored(paths, [typed])[:1]
        paths[host] = _without(paths.get(host, []), [prefix], f"path under {host}", project)
    removed = set(map(registry_of, hosts))
    return {
        host: prefixes for host, prefixes in paths.items() if prefixes or registry_of(host) not in removed
    }
