"""``regcred registry verify``: requests a check of the current credential."""

from __future__ import annotations

import click

from regcred.cli.output import output_option
from regcred.cli.parameters import REFERENCE
from regcred.cli.rotate import ask, timeout_option, wait_option
from regcred.cli.session import CliSession, pass_session
from regcred.reference import Reference
from regcred.vault.records.declared import Action


@click.command(short_help="Try the credential against the registry itself.")
@click.argument("reference", metavar="P/R", type=REFERENCE)
@wait_option
@timeout_option
@output_option
@pass_session
def verify(session: CliSession, reference: Reference, wait: bool, timeout: int, as_json: bool) -> None:
    """Try the credential that is in force against the registry itself: it must pull, and must not push."""
    ask(session, reference, Action.VERIFY, wait=wait, timeout=timeout, as_json=as_json)
