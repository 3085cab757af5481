"""The command line ``regcred``: a thin layer over the store and the verbs, with a module per group."""

from __future__ import annotations

import os
import sys

COMPLETION = "_REGCRED_COMPLETE"
"""The environment variable that a shell sets to request completions (docs/cli.md)."""


def main() -> None:
    """Run the command line of this process, and exit with a documented exit code."""
    from regcred import tracing
    from regcred.cli.app import app, run
    from regcred.wiring.tracing import set_up

    if COMPLETION in os.environ:
        app().main(prog_name="regcred", complete_var=COMPLETION)
    set_up("regcred", os.environ)
    code = run(sys.argv[1:])
    tracing.flush()
    sys.exit(code)
