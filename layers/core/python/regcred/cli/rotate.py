"""``regcred rotate``, ``verify`` and ``revoke``: send requests about credentials."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import click

from regcred.cli import bulk_requests, lookup, single_request
from regcred.cli.failures import BadInputError
from regcred.cli.output import output_option, print_json, say
from regcred.cli.parameters import TARGET, WholeNumber, all_of
from regcred.cli.prompts import confirm
from regcred.cli.selection import Selection, select
from regcred.cli.session import CliSession, pass_session
from regcred.errors import ConflictError
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Action
from regcred.wording import plural

NAMED_MAX = 20
"""The maximum number of registries that a confirmation lists."""

wait_option = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait for the outcome, or return at once."
)
timeout_option = click.option(
    "--timeout",
    type=WholeNumber(min=1, max=86400),
    default=int(single_request.PATIENCE.total_seconds()),
    show_default=True,
    metavar="SECONDS",
    help="The maximum time to wait. For several registries: the maximum time without progress.",
)


selection_options = all_of(
    click.argument("targets", metavar="[P/R|P]...", type=TARGET, nargs=-1),
    click.option("--all", "everything", is_flag=True, help="All registries that you may read."),
    click.option(
        "--provider",
        metavar="NAME",
        default="",
        help="Only registries of this provider, in the named projects or in all projects.",
    ),
)
"""Adds the arguments and options that select registries."""


@click.command(
    short_help="Fetch new credentials now.",
    help="""Fetch new credentials now: for registries, for all of a project, or for all of a provider.

    The command writes a request to Vault with your token. The rotate function handles the request, and the
    command shows the result. The old credential stays valid until the new one is verified.

    With --local, this process rotates one registry itself. It uses your AWS credentials, and it needs a Vault
    token with the policy of the rotate function (regcred-rotate). Use it for a test, or if the function can't
    run.

    \b
    Examples:
      regcred rotate payments/ecr-prod
      regcred rotate payments search/nexus
      regcred rotate --provider dockerhub
    """,
)
@selection_options
@wait_option
@timeout_option
@click.option("--local", is_flag=True, help="Rotate in this process instead of sending a request.")
@output_option
@pass_session
def rotate(
    session: CliSession,
    targets: Sequence[Reference | str],
    everything: bool,
    provider: str,
    wait: bool,
    timeout: int,
    local: bool,
    as_json: bool,
) -> None:
    """Run ``regcred rotate``."""
    selection = Selection(targets, everything, provider)
    selection.check("rotate")
    if local and selection.single is None:
        raise BadInputError("--local works for one registry at a time: regcred rotate P/R --local")
    if local and selection.single:
        _rotate_locally(session, selection.single, as_json=as_json)
        return
    _send_requests(session, selection, Action.ROTATE, wait=wait, timeout=timeout, as_json=as_json)


@click.command(
    short_help="Test the current credentials at the registries.",
    help="""Test the current credentials at the registries: they must pull, and must not push.

    \b
    Examples:
      regcred verify payments/ecr-prod
      regcred verify --all -o json
    """,
)
@selection_options
@wait_option
@timeout_option
@output_option
@pass_session
def verify(
    session: CliSession,
    targets: Sequence[Reference | str],
    everything: bool,
    provider: str,
    wait: bool,
    timeout: int,
    as_json: bool,
) -> None:
    """Run ``regcred verify``."""
    selection = Selection(targets, everything, provider)
    selection.check("verify")
    _send_requests(session, selection, Action.VERIFY, wait=wait, timeout=timeout, as_json=as_json)


def _rotate_locally(session: CliSession, reference: Reference, *, as_json: bool) -> None:
    from regcred.rotate import RotationResult
    from regcred.rotation_message import RotationMessage, RotationReason

    sent = single_request.send(session, reference, Action.ROTATE, nudge=False)
    message = RotationMessage(
        project=reference.project, registries={reference.registry: RotationReason.REQUESTED}
    )
    done = session.rotate_here(session.store).run(message, owner=f"cli/{uuid4().hex}")
    done.check()
    if done.outcomes[0].done is RotationResult.BUSY:
        raise ConflictError(
            f"{reference}: another run rotates it right now; see 'regcred status {reference}'"
        )
    index = lookup.index(session.store, reference.project)
    single_request.report(session, sent, index.registries.get(reference.registry), as_json=as_json)


@click.command(
    short_help="Revoke credentials at once, everywhere.",
    help="""Revoke credentials at once, everywhere.

    Use this after a leak. The vendor revokes the credentials if it can. ECR and Google can't: their
    credentials stay valid until they expire. The credentials are destroyed in Vault, and every cluster
    removes its Secrets. No new credential is fetched until you run 'regcred rotate'.

    \b
    Examples:
      regcred revoke payments/ecr-prod
      regcred revoke payments --yes
    """,
)
@selection_options
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@wait_option
@timeout_option
@output_option
@pass_session
def revoke(
    session: CliSession,
    targets: Sequence[Reference | str],
    everything: bool,
    provider: str,
    yes: bool,
    wait: bool,
    timeout: int,
    as_json: bool,
) -> None:
    """Run ``regcred revoke``."""
    selection = Selection(targets, everything, provider)
    selection.check("revoke")
    found = select(session, selection, "revoke")
    if not yes:
        _confirm(session, found)
    _send_requests(session, selection, Action.REVOKE, found, wait=wait, timeout=timeout, as_json=as_json)


def _confirm(session: CliSession, references: Sequence[Reference]) -> None:
    if len(references) == 1:
        one = references[0]
        confirm(f"Revoke {one}? Pods that use it{_where(session, one)} can no longer pull.")
        return
    for reference in references[:NAMED_MAX]:
        say(f"{reference}{_where(session, reference)}")
    if len(references) > NAMED_MAX:
        say(f"... and {len(references) - NAMED_MAX} more")
    confirm(f"Revoke these {len(references)} registries? Pods that use them can no longer pull.")


def _send_requests(
    session: CliSession,
    selection: Selection,
    action: Action,
    found: Sequence[Reference] | None = None,
    *,
    wait: bool,
    timeout: int,
    as_json: bool,
) -> None:
    if selection.single:
        send_request(session, selection.single, action, wait=wait, timeout=timeout, as_json=as_json)
        return
    references = found or select(session, selection, action)
    bulk_requests.run(session, references, action, wait=wait, timeout=timeout, as_json=as_json)


def send_request(
    session: CliSession,
    reference: Reference,
    action: Action,
    *,
    wait: bool,
    timeout: int,
    as_json: bool = False,
) -> None:
    """Write a request. With ``wait``, wait for the outcome and print it.

    Raises:
        Failed, RefusedError, TransientError: the request failed, or was not handled in time.
    """
    sent = single_request.send(session, reference, action)
    if not wait:
        if as_json:
            print_json(single_request.as_document(sent, None))
        say(f"{reference}: sent a request to {action}; see 'regcred status {reference}'")
        return
    single_request.report(
        session, sent, single_request.wait(session, sent, timedelta(seconds=timeout)), as_json=as_json
    )


def _where(session: CliSession, reference: Reference) -> str:
    from regcred.cli.status import rows_of

    counts = {
        cluster: count
        for row in rows_of(session.store, reference.project)
        if row.reference == reference
        for cluster, placement in row.placements.items()
        if (count := sum(map(len, placement.in_place.values())))
    }
    placements = ", ".join(f"{plural(count, 'namespace')} of {cluster}" for cluster, count in counts.items())
    return f" (in {placements})" if placements else ""
