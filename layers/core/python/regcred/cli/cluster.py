"""``regcred cluster``: the identity of a cluster (``identities/C``), and the removals that its sync holds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import click

from regcred.cli import lookup
from regcred.cli.groups import CommandGroup
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
    help="""Manage which cluster a name belongs to, and held removals.

    This is for platform admins. At its first sign-in, the sync of a cluster pins the cluster to its name.
    Another cluster that uses this name is refused before it writes anything.
    """,
)
def cluster() -> None:
    """Group the commands of ``regcred cluster``."""


@cluster.command(
    help="""Let another cluster use the name, for example after you rebuilt a cluster.

    The next cluster that signs in under this name is pinned to it.

    \b
    Example:
      regcred cluster reset c1
    """
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.argument("name", type=CLUSTER, metavar="C")
@pass_session
def reset(session: CliSession, name: str, yes: bool) -> None:
    """Run ``regcred cluster reset``."""
    found = session.store.identity(name)
    if found is None:
        raise MissingError(f"no cluster is pinned to the name {name}; the next one that signs in is")
    if not yes:
        confirm(f"Forget that {name} is the cluster with the uid {found.value.uid}?")
    session.store.forget_identity(name)
    say(f"the next cluster that signs in as {name} is pinned to that name")


@cluster.command(
    name="confirm-removals",
    help="""Let sync make the removals that it holds because they are too many at once.

    The command lists the removals and asks you to confirm. Your answer is valid for these removals and for
    one hour. If sync holds more removals by then, it removes none of them.

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
    help="Only those of this project; repeatable.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
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
        ["reference", "namespace", "because"],
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
