"""``regcred registry template``: a definition to fill in."""

from __future__ import annotations

import click

from regcred.cli import definitions
from regcred.cli.failures import user_input
from regcred.cli.output import print_table, write_document
from regcred.registry import catalog


@click.command()
@click.argument("provider", required=False)
def template(provider: str | None) -> None:
    """Print a definition to fill in, for 'registry add -f'.

    Without PROVIDER, the kinds of registry that there are.
    """
    if provider is None:
        names = catalog.names()
        print_table(["provider", "for"], [[name, definitions.summary(name)] for name in names])
        return
    with user_input():
        write_document(definitions.template(provider))
