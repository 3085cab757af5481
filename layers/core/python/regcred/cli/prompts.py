"""Questions to the person at the terminal. Without a terminal nothing is guessed: the option to give is named."""

from __future__ import annotations

import sys
from typing import Any

import click

from regcred.cli.failures import BadInputError, Failed
from regcred.printable import printable


def interactive() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str) -> None:
    """Ask before something that hurts."""
    if not interactive():
        raise BadInputError("this needs a yes, and there is no terminal to ask on: add --yes")
    if not yes(question):
        raise Failed("nothing was done")


def yes(question: str) -> bool:
    """Ask a question that is answered by yes or no."""
    return click.confirm(printable(question), err=True)


def answer(question: str, **options: Any) -> str:
    """Ask for a text; ``options`` are those of ``click.prompt``."""
    return str(click.prompt(printable(question), err=True, **options))
