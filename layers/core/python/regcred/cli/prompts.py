"""Questions to the person at the terminal. Without a terminal, an error names the option to use."""

from __future__ import annotations

import sys
from typing import Any

import click

from regcred.cli.failures import BadInputError, Failed
from regcred.printable import printable


def interactive() -> bool:
    """Whether the command can ask a person at a terminal."""
    # A stream is None if the process was started without it.
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def confirm(question: str) -> None:
    """Ask for confirmation of a destructive action.

    Raises:
        BadInputError: there is no terminal.
        Failed: the answer is no.
    """
    if not interactive():
        raise BadInputError("this needs confirmation, and there is no terminal to ask on: add --yes")
    if not yes(question):
        raise Failed("nothing was done")


def yes(question: str) -> bool:
    """Ask a yes-or-no question."""
    return click.confirm(printable(question), err=True)


def answer(question: str, **options: Any) -> str:
    """Ask for a text. ``options`` are those of ``click.prompt``."""
    return str(click.prompt(printable(question), err=True, **options))
