"""``regcred cluster``: the cluster that a name belongs to (``identities/C``)."""

from __future__ import annotations

import click

from regcred.cli.groups import CommandGroup
from regcred.cli.output import say
from regcred.cli.parameters import CLUSTER
from regcred.cli.prompts import confirm
from regcred.cli.session import CliSession, pass_session
from regcred.errors import MissingError


@click.group(cls=CommandGroup)
def cluster() -> None:
    """Manage which cluster a name belongs to.

    This is for platform admins. The sync of a cluster pins the cluster to its name at the first sign-in; another cluster under that name is
    then refused, before it writes anything.
    """


@cluster.command()
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.argument("name", type=CLUSTER, metavar="C")
@pass_session
def reset(session: CliSession, name: str, yes: bool) -> None:
    """Let another cluster have the name, as after a cluster was rebuilt.

    The next cluster that signs in under this name is pinned to it.

    \b
    Example:
      regcred cluster reset c1
    """
    found = session.store.identity(name)
    if found is None:
        raise MissingError(f"no cluster is pinned to the name {name}; the next one that signs in is")
    if not yes:
        confirm(f"Forget that {name} is the cluster with the uid {found.value.uid}?")
    session.store.forget_identity(name)
    say(f"the next cluster that signs in as {name} is pinned to that name")
