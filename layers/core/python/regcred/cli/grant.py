"""``regcred grant``: manages which namespaces of a cluster may use a project (``platform/clusters/C``)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial

import click

from regcred.cli import lookup
from regcred.cli.command_groups import CommandGroup
from regcred.cli.failures import BadInputError
from regcred.cli.output import output_option, print_json, print_table, say, write
from regcred.cli.parameters import CLUSTER, PROJECT
from regcred.cli.prompts import confirm
from regcred.cli.session import CliSession, pass_session
from regcred.cli.validation import valid
from regcred.errors import MalformedError, MissingError, RefusedError
from regcred.registry_reference import check_label
from regcred.vault.records.declared import ClusterGrants, DelegatedGrants
from regcred.wording import plural

namespace_option = click.option(
    "--namespace", "-n", "more", multiple=True, metavar="NS", help="Another way to name a namespace."
)


@click.group(
    cls=CommandGroup,
    help="""Define which namespaces may use a project's registries.

    This is for platform admins. An annotation alone gives a workload no access: its namespace also needs a
    grant for the project.
    """,
)
def grant() -> None:
    """Group the commands of ``regcred grant``."""


ADD_HELP = """Let namespaces use a project's registries.

\b
Example:
  regcred grant add --cluster c1 payments payments-prod payments-staging
"""


@grant.command(help=ADD_HELP)
@click.option("--cluster", "-c", type=CLUSTER, required=True, metavar="C", help="The cluster.")
@click.option(
    "--allow-globs",
    is_flag=True,
    help="Allow patterns with '*' in the grants of this cluster.",
)
@click.option("--replace", is_flag=True, help="Replace all grants of the cluster if they can't be read.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@click.argument("project", type=PROJECT, metavar="P")
@click.argument("namespaces", nargs=-1, metavar="NAMESPACE...")
@namespace_option
@pass_session
def add(
    session: CliSession,
    cluster: str,
    project: str,
    namespaces: Sequence[str],
    more: Sequence[str],
    allow_globs: bool,
    replace: bool,
    yes: bool,
) -> None:
    """Run ``regcred grant add``."""
    namespaces = (*namespaces, *more)
    _check_namespaces(namespaces)
    if replace and not yes:
        confirm(
            f"Replace all grants of cluster {cluster}? Sync then removes the Secrets of all other "
            "namespaces until you grant them again."
        )

    def change(old: ClusterGrants | None) -> ClusterGrants:
        if old and replace:
            raise BadInputError(
                f"--replace: the grants of cluster {cluster} can be read; change them with 'add' and "
                "'remove', without --replace"
            )
        grants = old or ClusterGrants()
        globs = grants.globs or allow_globs
        wide = [namespace for namespace in namespaces if "*" in namespace]
        if wide and not globs:
            raise BadInputError(
                f"{', '.join(wide)}: cluster {cluster} allows only exact names; name each namespace, or add "
                "--allow-globs"
            )
        merged = sorted({*grants.grants.get(project, []), *namespaces})
        changed = {"grants": {**grants.grants, project: merged}, "globs": globs}
        return valid(ClusterGrants, **dict(grants) | changed)

    with _replaceable(cluster):
        session.store.change_cluster(cluster, change, replace_unreadable=replace)
    say(f"{', '.join(namespaces)} of cluster {cluster} may use the registries of {project}")
    _warn_unreadable(session, cluster, project)


@grant.command(
    help="""Remove a project's grant from namespaces.

    If you name no namespace, the grant is removed from all namespaces of the cluster.

    Sync removes the Secrets in these namespaces within five seconds. The brake does not hold these removals.
    Nodes keep the images that they have, but can't pull others. A person who has read a Secret can use it
    until it expires.
    """
)
@click.option("--cluster", "-c", type=CLUSTER, required=True, metavar="C", help="The cluster.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@click.argument("project", type=PROJECT, metavar="P")
@click.argument("namespaces", nargs=-1, metavar="[NAMESPACE...]")
@namespace_option
@pass_session
def remove(
    session: CliSession, cluster: str, project: str, namespaces: Sequence[str], more: Sequence[str], yes: bool
) -> None:
    """Run ``regcred grant remove``."""
    namespaces = (*namespaces, *more)
    with _replaceable(cluster):
        found = session.store.cluster(cluster)
    granted = found.value.grants.get(project, []) if found else []
    if not granted:
        raise MissingError(
            f"no namespace of cluster {cluster} has a grant for {project}; see 'regcred grant list'"
        )
    unknown = [namespace for namespace in namespaces if namespace not in granted]
    if unknown:
        raise MissingError(
            f"{', '.join(unknown)}: no grant for {project} in {cluster}; granted: {', '.join(granted)}"
        )
    gone = namespaces or granted
    if not yes:
        confirm(
            f"Remove the grant for {project} from {plural(len(gone), 'namespace')} of {cluster} "
            f"({', '.join(gone)})?"
        )

    def change(old: ClusterGrants | None) -> ClusterGrants:
        grants = old or ClusterGrants()
        left = [namespace for namespace in grants.grants.get(project, []) if namespace not in gone]
        others = {name: granted for name, granted in grants.grants.items() if name != project}
        return grants.model_copy(update={"grants": {**others, project: left} if left else others})

    session.store.change_cluster(cluster, change)
    say(
        f"{', '.join(gone)} of cluster {cluster} may no longer use the registries of {project}; sync "
        f"removes the Secrets within seconds: 'regcred status {project}' shows what is left"
    )


@grant.command(
    short_help="Let project admins grant their project themselves.",
    help="""Let the admins of a project grant it themselves, but only to the listed namespaces.

    This is for platform admins. The admins of the project then use 'regcred grant own'. The list replaces the
    previous list.

    \b
    Example:
      regcred grant delegate --cluster c1 payments 'payments-*'
    """,
)
@click.option("--cluster", "-c", type=CLUSTER, required=True, metavar="C", help="The cluster.")
@click.option("--none", "is_none", is_flag=True, help="End the delegation. The admins' grants lose effect.")
@click.argument("project", type=PROJECT, metavar="P")
@click.argument("namespaces", nargs=-1, metavar="[NAMESPACE|PATTERN]...")
@pass_session
def delegate(
    session: CliSession, cluster: str, project: str, namespaces: Sequence[str], is_none: bool
) -> None:
    """Run ``regcred grant delegate``."""
    if bool(namespaces) is is_none:
        raise BadInputError("name the namespaces or patterns, or add --none")
    _check_namespaces(namespaces or ["none"])

    def change(old: ClusterGrants | None) -> ClusterGrants:
        grants = old or ClusterGrants()
        others = {name: bounds for name, bounds in grants.delegated.items() if name != project}
        new = {**others, project: sorted(set(namespaces))} if namespaces else others
        return grants.model_copy(update={"delegated": new})

    with _replaceable(cluster):
        session.store.change_cluster(cluster, change)
    if namespaces:
        say(f"the admins of {project} may grant it to {', '.join(namespaces)} of cluster {cluster}")
    else:
        say(f"the admins of {project} may grant it to no namespace of cluster {cluster}")


@grant.command(
    help="""Grant your own project to namespaces.

    This is for the admins of a project. Without names, the command shows the namespaces that have your grant.
    A platform admin sets which namespaces you may choose. A namespace outside these bounds gets no access,
    and its workloads get an Event that says so.

    \b
    Example:
      regcred grant own --cluster c1 payments payments-prod
    """
)
@click.option("--cluster", "-c", type=CLUSTER, required=True, metavar="C", help="The cluster.")
@click.option("--remove", "is_removal", is_flag=True, help="Remove the grant from the namespaces.")
@click.argument("project", type=PROJECT, metavar="P")
@click.argument("namespaces", nargs=-1, metavar="[NAMESPACE]...")
@output_option
@pass_session
def own(
    session: CliSession,
    cluster: str,
    project: str,
    namespaces: Sequence[str],
    is_removal: bool,
    as_json: bool,
) -> None:
    """Run ``regcred grant own``."""
    for namespace in namespaces:
        check_label(namespace, field="namespace")

    def change(old: DelegatedGrants | None) -> DelegatedGrants:
        before = set(old.namespaces) if old else set()
        after = before - set(namespaces) if is_removal else before | set(namespaces)
        return valid(DelegatedGrants, namespaces=sorted(after))

    if namespaces:
        left = session.store.change_delegated(cluster, project, change)
    else:
        found = session.store.delegated(cluster, project)
        left = found.value if found else DelegatedGrants()
    if as_json:
        print_json({"cluster": cluster, "project": project, "namespaces": left.namespaces})
        return
    for namespace in left.namespaces:
        write(namespace)
    say(
        f"the admins of {project} have granted it to {plural(len(left.namespaces), 'namespace')} of {cluster}"
    )
    _warn_outside(session, cluster, project, left.namespaces)


@grant.command(
    name="list",
    short_help="List the grants.",
    help="""List the grants.

    The column 'delegated' shows the other namespaces to which the admins of a project may grant it ('regcred
    grant own').
    """,
)
@click.option("--cluster", "-c", type=CLUSTER, metavar="C", help="Only this cluster.")
@output_option
@pass_session
def list_(session: CliSession, cluster: str | None, as_json: bool) -> None:
    """Run ``regcred grant list``."""
    store = session.store
    if cluster:
        with _replaceable(cluster):
            only = store.cluster(cluster)
        found = {cluster: only.value} if only else {}
    else:
        read = {
            name: lookup.readable(partial(store.cluster, name), f"cluster {name}")
            for name in store.clusters()
        }
        found = {name: grants.value for name, grants in read.items() if grants}
    if as_json:
        print_json({"clusters": {name: grants.model_dump(mode="json") for name, grants in found.items()}})
        return
    rows = [
        [
            name,
            project,
            ", ".join(grants.grants.get(project, ())),
            ", ".join(grants.delegated.get(project, ())),
        ]
        for name, grants in found.items()
        for project in sorted({*grants.grants, *grants.delegated})
    ]
    if not rows:
        say("there are no grants yet; add one: regcred grant add --cluster c1 payments payments-prod")
        return
    print_table(["cluster", "project", "namespaces", "delegated"], rows)


def _replaceable(cluster: str) -> AbstractContextManager[None]:
    return lookup.replaceable(f"regcred grant add --cluster {cluster} --replace P NAMESPACE")


def _check_namespaces(namespaces: Sequence[str]) -> None:
    if not namespaces:
        raise BadInputError("name at least one namespace: regcred grant add --cluster C P NAMESPACE")
    for namespace in namespaces:
        _check_namespace(namespace)


def _check_namespace(namespace: str) -> None:
    try:
        check_label(namespace.replace("*", "x"), field="namespace")
    except MalformedError as error:
        if "*" not in namespace:
            raise BadInputError(str(error)) from None
        raise BadInputError(
            f"namespace {namespace[:80]!r} must be a pattern of at most 63 characters: a-z, 0-9, '-' and "
            "'*', without '-' at the start or the end"
        ) from None


def _warn_outside(session: CliSession, cluster: str, project: str, namespaces: Sequence[str]) -> None:
    """Warn about grants outside the bounds that platform admins set. They have no effect."""
    if not namespaces:
        return
    try:
        found = session.store.cluster(cluster)
    except MalformedError:
        return
    except RefusedError:
        say(
            "note: only namespaces within the bounds of the cluster have access. Your token may not read the "
            "bounds; a platform admin can list them: regcred grant list --cluster " + cluster
        )
        return
    grants = found.value if found else ClusterGrants()
    if outside := [name for name in namespaces if not grants.may_delegate(name, project)]:
        bounds = ", ".join(grants.delegated.get(project, ())) or "none"
        say(
            f"note: outside the bounds of the cluster ({bounds}), so without access: {', '.join(outside)}; a "
            f"platform admin sets the bounds: regcred grant delegate --cluster {cluster} {project} NAMESPACE"
        )


def _warn_unreadable(session: CliSession, cluster: str, project: str) -> None:
    """Warn if the cluster may not read the project. Then a grant has no effect."""
    try:
        policy = session.store.project(project)
    except (RefusedError, MalformedError):
        return
    if policy is None:
        missing = str(lookup.no_such_project(session.store, project))
        say(
            f"note: {missing}{'' if missing.endswith('?') else '.'} The grant has no effect until the "
            f"project exists: regcred project add {project} --cluster {cluster}"
        )
    elif cluster not in policy.value.clusters:
        meant = lookup.did_you_mean(cluster, policy.value.clusters)
        say(
            f"note: cluster {cluster} may not read credentials of {project} yet"
            + (f"; {meant} If not," if meant else ";")
            + f" allow it: regcred project add {project} --cluster {cluster}"
        )
