"""``regcred cluster``: manages the identity of a cluster (``identities/C``), and held removals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import click

from regcred.cli import lookup
from regcred.cli.command_groups import CommandGroup
from regcred.cli.output import print_table, say
from regcred.cli.parameters import CLUSTER, PROJECT
from regcred.cli.prompts import confirm
from regcred.cli.session import CliSession, pass_session
from regcred.errors import MissingError
from regcred.vault.records.declared import CONFIRMED_FOR, ClusterGrants
from regcred.views.placement import count_held, held_removals
from regcred.wording import duration, plural


@click.group(
    cls=CommandGroup,
    help="""Manage cluster names, and confirm held removals.

    This is for platform admins. At its first sign-in, the sync of a cluster binds the name to this cluster.
    Another cluster that uses the name is refused before it writes anything.
    """,
)
def cluster() -> None:
    """Group the commands of ``regcred cluster``."""


@cluster.command(
    short_help="Let another cluster use a name.",
    help="""Let another cluster use a name, for example after you rebuilt a cluster.

    The name is bound to the next cluster that signs in with it.

    \b
    Example:
      regcred cluster reset c1
    """,
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@click.argument("name", type=CLUSTER, metavar="C")
@pass_session
def reset(session: CliSession, name: str, yes: bool) -> None:
    """Run ``regcred cluster reset``."""
    found = session.store.identity(name)
    if found is None:
        raise MissingError(f"the name {name} is not bound to a cluster; the next sign-in binds it")
    if not yes:
        confirm(f"Forget that {name} is the cluster with the uid {found.value.uid}?")
    session.store.forget_identity(name)
    say(f"the next cluster that signs in as {name} gets this name")


@cluster.command(
    name="confirm-removals",
    short_help="Let sync make the removals that it holds.",
    help="""Let sync make the removals that it holds because there are too many at once.

    The command lists the removals and asks you to confirm them. Your confirmation is valid for one hour, and
    only for these removals. If sync then holds more removals, it makes none of them.

    \b
    Example:
      regcred cluster confirm-removals c1
    """,
)
@click.option(
    "--project",
    "-p",
    "only",
    type=PROJECT,
    multiple=True,
    metavar="P",
    help="Only the removals of this project. You can repeat this option.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@click.argument("name", type=CLUSTER, metavar="C")
@pass_session
def confirm_removals(session: CliSession, name: str, only: Sequence[str], yes: bool) -> None:
    """Run ``regcred cluster confirm-removals``."""
    held = _held(session, name)
    if missing := [project for project in only if project not in held]:
        raise MissingError(f"sync of {name} holds no removals of {', '.join(missing)}")
    counts = {project: count_held(held[project]) for project in only or held}
    if not counts:
        raise MissingError(f"sync of {name} holds no removals; 'regcred status' shows what it reports")
    print_table(
        ["registry", "namespace", "reason"],
        [
            [f"{project}/{registry}", namespace, why]
            for project in counts
            for registry, places in held[project].items()
            for namespace, why in sorted(places.items())
        ],
    )
    if not yes:
        confirm(f"Remove {plural(sum(counts.values()), 'Secret')} from cluster {name}?")
    now = session.now()
    with lookup.replaceable(f"regcred grant add --cluster {name} --replace P NAMESPACE"):
        session.store.change_cluster(name, lambda old: (old or ClusterGrants()).confirming(counts, now))
    say(f"confirmed for {duration(CONFIRMED_FOR)}; sync of {name} removes the Secrets within seconds")


def _held(session: CliSession, name: str) -> dict[str, dict[str, dict[str, str]]]:
    store = session.store
    read = {
        project: lookup.readable(partial(store.status, name, project), f"status of {project} in {name}")
        for project in store.status_projects(name)
    }
    return held_removals({project: status.value for project, status in read.items() if status})
