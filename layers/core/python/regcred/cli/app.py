"""The top level of the command line: its commands, its help and its error handling."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import click

from regcred import __version__
from regcred.cli.command_groups import Lazy, Root
from regcred.cli.failures import ExitCode, describe
from regcred.cli.output import say, write
from regcred.cli.session import CliSession

EPILOG = """\b
First steps (README.md has all of them):
  export VAULT_ADDR=https://vault.example.com:8200 && vault login     (or: bao login)
  regcred project add payments --host registry.example.com --cluster c1
  regcred registry add payments/main           asks for what it needs
  regcred grant add --cluster c1 payments payments-prod
  regcred annotation payments/main             what to paste into the workload
"""


class App(Root):
    """``regcred`` itself."""

    sections: Mapping[str, Mapping[str, Lazy]] = {
        "Registries": {
            "registry": Lazy("regcred.cli.registry", "registry", "Add, list, show and remove registries."),
            "rotate": Lazy("regcred.cli.rotate", "rotate", "Fetch new credentials now."),
            "verify": Lazy("regcred.cli.rotate", "verify", "Test the current credentials at the registries."),
            "revoke": Lazy("regcred.cli.rotate", "revoke", "Revoke credentials at once, everywhere."),
            "annotation": Lazy(
                "regcred.cli.annotation", "annotation", "Print the annotation to paste into a workload."
            ),
        },
        "Access": {
            "project": Lazy(
                "regcred.cli.project",
                "project",
                "Define what a project may use: hosts, accounts, clusters.",
            ),
            "grant": Lazy(
                "regcred.cli.grant",
                "grant",
                "Define which namespaces may use a project's registries.",
            ),
        },
        "Declared state": {
            "diff": Lazy("regcred.cli.declare.commands", "diff", "Show what 'apply' would change."),
            "apply": Lazy("regcred.cli.declare.commands", "apply", "Change Vault to match the files."),
            "export": Lazy(
                "regcred.cli.declare.commands", "export", "Write the state of Vault as files for 'apply'."
            ),
            "migrate": Lazy(
                "regcred.cli.migrate", "migrate_command", "Replace a cluster's pull secrets, step by step."
            ),
            "schema": Lazy(
                "regcred.cli.declare.commands",
                "schema",
                "Print the JSON schema of a kind of file, for an editor.",
            ),
        },
        "Observation": {
            "status": Lazy(
                "regcred.cli.status",
                "status",
                "Show every registry, its state and its expiry.",
            ),
            "explain": Lazy(
                "regcred.cli.explain.command",
                "explain",
                "Explain why a Pod or workload can or can't pull its images.",
            ),
            "console": Lazy("regcred.cli.console", "console", "Open the web console."),
            "exporter": Lazy(
                "regcred.cli.exporter", "exporter", "Serve the metrics of the whole fleet for Prometheus."
            ),
            "doctor": Lazy("regcred.cli.doctor", "doctor", "Diagnose the installation."),
            "selftest": Lazy(
                "regcred.cli.selftest", "selftest", "Test a definition at its vendor, without Vault."
            ),
        },
        "Operation": {
            "sync": Lazy(
                "regcred.cli.sync",
                "sync",
                "Update the Secrets of a cluster to match Vault.",
            ),
            "cluster": Lazy(
                "regcred.cli.cluster", "cluster", "Manage cluster names, and confirm held removals."
            ),
            "system": Lazy("regcred.cli.system", "system", "Sign in to the system registry, and set it up."),
            "platform": Lazy(
                "regcred.cli.platform", "platform", "Set up Vault: mount, policies, sign-in, groups."
            ),
        },
    }


def app() -> App:
    """The command line as a click command."""
    return App(
        "regcred",
        help="Short-lived, pull-only registry credentials, from Vault to the namespaces whose workloads ask "
        "for them.",
        epilog=EPILOG,
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_version,
                help="Show the version and exit.",
            )
        ],
        context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    )


def run(args: Sequence[str], session: CliSession | None = None) -> int:
    """Run one command line.

    Args:
        args: The arguments, without the program's name.
        session: The dependencies of the commands. None for the user's Vault and cluster.

    Returns:
        The exit code. If it is not 0, an error was printed as one line on standard error.
    """
    try:
        root = app()
        with root.make_context("regcred", list(args), obj=session or CliSession()) as context:
            root.invoke(context)
        if sys.stdout is not None:  # None if the process was started without standard output
            sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`). Exit silently. Without the dup2, the interpreter would
        # flush the pipe at exit and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place where every failure becomes a line
        line, code = describe(error)
        say(f"regcred: {line}")
        return code
    return ExitCode.OK


def _version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        write(f"regcred {__version__}")
        ctx.exit()
