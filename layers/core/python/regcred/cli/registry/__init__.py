"""``regcred registry``: a project's registries (``registries/P/R`` and ``upstream/P/R``)."""

from __future__ import annotations

import click

from regcred.cli.groups import CommandGroup
from regcred.cli.registry import add, remove, show, template, trust


@click.group(cls=CommandGroup)
def registry() -> None:
    """Add, list, show and remove registries.

    A registry belongs to a project and is named PROJECT/REGISTRY, as in payments/ecr-prod.
    """


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
