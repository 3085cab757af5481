"""``regcred registry``: manages a project's registries (``registries/P/R`` and ``upstream/P/R``)."""

from __future__ import annotations

import click

from regcred.cli.command_groups import CommandGroup
from regcred.cli.registry import add, remove, show, template, trust


@click.group(
    cls=CommandGroup,
    help="""Add, list, show and remove registries.

    A registry belongs to a project. Its name is PROJECT/REGISTRY, as in payments/ecr-prod.
    """,
)
def registry() -> None:
    """Group the commands of ``regcred registry``."""


for command in (
    add.add,
    add.set_secret,
    trust.trust,
    template.template,
    show.list_,
    show.show,
    remove.remove,
):
    registry.add_command(command)
