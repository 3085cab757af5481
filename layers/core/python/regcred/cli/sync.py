"""``regcred sync``: runs sync, by hand or as the command of the image."""

from __future__ import annotations

import click

from regcred.cli.failures import BadInputError, Failed
from regcred.cli.output import output_option, print_json, write
from regcred.cli.parameters import CLUSTER
from regcred.cli.session import CliSession, pass_session
from regcred.wording import plural

HELP = """Update the Secrets of a cluster to match Vault.

Sync creates, updates and removes Secrets. In a Pod, it signs in to Vault with the token of the Pod.
Elsewhere, it uses your token, like the other commands. All other settings are environment variables
(docs/cli.md). The loop ends on Ctrl-C and SIGTERM. The next run completes unfinished work.

\b
Examples:
  regcred sync --cluster c1 --dry-run
  regcred sync --cluster c1 --once
"""


@click.command(help=HELP)
@click.option("--once", is_flag=True, help="Make one run, then exit.")
@click.option("--dry-run", is_flag=True, help="Show what one run would do, without doing it.")
@click.option(
    "--cluster",
    type=CLUSTER,
    metavar="C",
    envvar="REGCRED_CLUSTER",
    required=True,
    help="The cluster's name in Regcred. Default: REGCRED_CLUSTER.",
)
@click.option(
    "--mode",
    type=click.Choice(["admission", "serviceaccount", "none"]),
    help="How Pods get the names of their Secrets. Default: REGCRED_MODE, or else admission.",
)
@click.option("--confirm-removals", is_flag=True, help="Let this run remove more than the brake allows.")
@click.option("--repair", is_flag=True, help="Write all Secrets again, to undo changes by others.")
@click.option(
    "--context",
    metavar="NAME",
    help="The kubeconfig's context. Default: the current one, or in a Pod its ServiceAccount.",
)
@output_option
@pass_session
def sync(
    session: CliSession,
    once: bool,
    dry_run: bool,
    cluster: str,
    mode: str | None,
    confirm_removals: bool,
    repair: bool,
    context: str | None,
    as_json: bool,
) -> None:
    """Run ``regcred sync``."""
    _check_options(
        once=once, dry_run=dry_run, confirm_removals=confirm_removals, repair=repair, as_json=as_json
    )
    lines: list[str] = []
    failures = session.run_sync(
        _settings(cluster, mode, confirm_removals=confirm_removals, repair=repair),
        context,
        "dry-run" if dry_run else "once" if once else "loop",
        lines.append if as_json else write,
    )
    if as_json:
        print_json({"dry_run": dry_run, "actions": lines, "failures": list(failures)})
    if failures:
        plan = "the plan lacks what could not be read"
        run = "all other actions are done"
        raise Failed(f"{plural(len(failures), 'failure')}; {plan if dry_run else run}")


def _settings(cluster: str, mode: str | None, *, confirm_removals: bool, repair: bool) -> dict[str, str]:
    """The options as environment variables, in which sync expects its settings."""
    settings = {
        "REGCRED_CLUSTER": cluster,
        "REGCRED_MODE": mode,
        "REGCRED_CONFIRM_REMOVALS": "true" if confirm_removals else None,
        "REGCRED_REPAIR": "true" if repair else None,
    }
    return {name: value for name, value in settings.items() if value}


def _check_options(*, once: bool, dry_run: bool, confirm_removals: bool, repair: bool, as_json: bool) -> None:
    """Refuse options that only make sense for one run."""
    one_run = once or dry_run
    if confirm_removals and not one_run:
        raise BadInputError("--confirm-removals works for one run only: look at --dry-run, then add --once")
    if repair and not once:
        raise BadInputError("--repair works for one run only: add --once")
    if as_json and not one_run:
        raise BadInputError("-o json works for one run only: add --once or --dry-run")
