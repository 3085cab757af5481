"""``regcred registry template``: prints a definition to fill in."""

from __future__ import annotations

import click

from regcred.cli import definitions
from regcred.cli.failures import user_input
from regcred.cli.output import output_option, print_json, print_table, write_document
from regcred.registry import catalog


@click.command(
    help="""Print a definition to fill in, for 'registry add -f'.

    Without PROVIDER, list the providers.
    """
)
@click.argument("provider", required=False, shell_complete=lambda _ctx, _parameter, typed: _names(typed))
@output_option
def template(provider: str | None, as_json: bool) -> None:
    """Run ``regcred registry template``."""
    if provider is None:
        names = catalog.names()
        if as_json:
            print_json(
                {"providers": [{"provider": name, "for": definitions.summary(name)} for name in names]}
            )
            return
        print_table(["provider", "for"], [[name, definitions.summary(name)] for name in names])
        return
    with user_input():
        if as_json:
            print_json({"provider": provider, "fields": definitions.fields_to_fill(provider)})
            return
        write_document(definitions.template(provider))


def _names(typed: str) -> list[str]:
    return [name for name in catalog.names() if name.startswith(typed)]
