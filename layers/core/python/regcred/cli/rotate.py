"""``regcred rotate`` and ``regcred revoke``: request a new credential, or the end of one."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import click

from regcred.cli import asking, lookup
from regcred.cli.output import output_option, print_json, say
from regcred.cli.parameters import REFERENCE
from regcred.cli.prompts import confirm
from regcred.cli.session import CliSession, pass_session
from regcred.errors import ConflictError
from regcred.reference import Reference
from regcred.vault.records.declared import Action
from regcred.wording import plural

wait_option = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait for the outcome, or return at once."
)
timeout_option = click.option(
    "--timeout",
    type=click.IntRange(min=1, max=86400),
    default=int(asking.PATIENCE.total_seconds()),
    show_default=True,
    metavar="SECONDS",
    help="How long to wait.",
)


@click.command()
@click.argument("reference", metavar="P/R", type=REFERENCE)
@wait_option
@timeout_option
@click.option("--local", is_flag=True, help="Do the work in this process instead of asking for it.")
@output_option
@pass_session
def rotate(
    session: CliSession, reference: Reference, wait: bool, timeout: int, local: bool, as_json: bool
) -> None:
    """Fetch a new credential for a registry now.

    It asks by a write to Vault with your own token; the rotate function does the work, and the outcome is shown here. The old
    credential stays in force until the new one is verified.

    With --local this process does the work: with your own AWS credentials, and a Vault token that may do what the rotate
    function may (policy regcred-rotate). It is for trying things out, and for the day when the function can't run.
    """
    if local:
        _here(session, reference, as_json=as_json)
    else:
        ask(session, reference, Action.ROTATE, wait=wait, timeout=timeout, as_json=as_json)


def _here(session: CliSession, reference: Reference, *, as_json: bool) -> None:
    from regcred.rotate import RotationResult
    from regcred.work import RotationMessage, RotationReason

    asked = asking.ask(session, reference, Action.ROTATE, nudge=False)
    message = RotationMessage(
        project=reference.project, registries={reference.registry: RotationReason.ASKED}
    )
    done = session.rotate_here(session.store).run(message, owner=f"cli/{uuid4().hex}")
    done.check()
    if done.outcomes[0].done is RotationResult.BUSY:
        raise ConflictError(
            f"{reference}: another rotation of it runs right now; see 'regcred status {reference}'"
        )
    index = lookup.index(session.store, reference.project)
    asking.report(session, asked, index.registries.get(reference.registry), as_json=as_json)


@click.command()
@click.argument("reference", metavar="P/R", type=REFERENCE)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@wait_option
@timeout_option
@output_option
@pass_session
def revoke(
    session: CliSession, reference: Reference, yes: bool, wait: bool, timeout: int, as_json: bool
) -> None:
    """End a credential at once, everywhere.

    This is for a leak. The vendor is asked to revoke it where it can (ECR and Google can't: there the credential dies when it expires), it is
    destroyed in Vault, and every cluster removes its Secrets. Nothing new is fetched until 'regcred rotate P/R'.
    """
    lookup.check_exists(session.store, reference)
    if not yes:
        confirm(
            f"Revoke {reference}? Pods that pull with it{_where(session, reference)} can't pull any more."
        )
    ask(session, reference, Action.REVOKE, wait=wait, timeout=timeout, as_json=as_json)


def ask(
    session: CliSession,
    reference: Reference,
    action: Action,
    *,
    wait: bool,
    timeout: int,
    as_json: bool = False,
) -> None:
    """Write a request, and wait for the outcome if wanted.

    Raises:
        Failed, RefusedError, TransientError: the outcome.
    """
    asked = asking.ask(session, reference, action)
    if not wait:
        if as_json:
            print_json(asking.as_document(asked, None))
        say(f"{reference}: asked to {action}; see 'regcred status {reference}'")
        return
    asking.report(session, asked, asking.wait(session, asked, timedelta(seconds=timeout)), as_json=as_json)


def _where(session: CliSession, reference: Reference) -> str:
    from regcred.cli.status import rows_of

    counts = {
        cluster: count
        for row in rows_of(session.store, reference.project)
        if row.reference == reference
        for cluster, place in row.places.items()
        if (count := sum(map(len, place.placed.values())))
    }
    places = ", ".join(f"{plural(count, 'namespace')} of {cluster}" for cluster, count in counts.items())
    return f" (in {places})" if places else ""
