"""``regcred registry remove``: removes a definition and its upstream secret."""

from __future__ import annotations

import click

from regcred.cli import lookup
from regcred.cli.failures import Failed, describe
from regcred.cli.output import say
from regcred.cli.parameters import REFERENCE
from regcred.cli.prompts import confirm
from regcred.cli.session import CliSession, pass_session
from regcred.errors import RegcredError
from regcred.registry_reference import Reference


@click.command(
    short_help="Remove a definition and its upstream secret.",
    help="""Remove a registry: its definition and its upstream secret.

    Within minutes, the credential is destroyed in Vault, and every cluster removes its Secrets. The vendor
    does not revoke the credential. If you need that, run 'regcred revoke P/R' first.
    """,
)
@click.argument("reference", metavar="P/R", type=REFERENCE)
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@pass_session
def remove(session: CliSession, reference: Reference, yes: bool) -> None:
    """Run ``regcred registry remove``."""
    lookup.check_exists(session.store, reference)
    if not yes:
        confirm(f"Remove {reference}? Workloads that use it can no longer pull its images.")
    try:
        session.store.remove_definition(reference)
    except RegcredError as error:
        if session.store.definition_version(reference):
            raise
        line, _ = describe(error)
        raise Failed(
            f"{reference}: the definition is removed, but the upstream secret is not: {line}"
        ) from None
    say(
        f"{reference}: removed; its credential and its Secrets are removed within minutes ('regcred status "
        f"{reference.project}')"
    )
