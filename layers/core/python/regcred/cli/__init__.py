"""The command line ``regcred``: one module per group of commands, each thin over the store and the verbs."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process and end it with the documented exit code."""
    from regcred.cli.app import run

    sys.exit(run(sys.argv[1:]))
