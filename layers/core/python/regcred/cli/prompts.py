"""Questions to the person at the terminal. Without a terminal nothing is guessed: the option to give is named."""

from __future__ import annotations

import sys

import click

from regcred.cli.failures import BadInputError, Failed


def interactive() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str) -> None:
    """Ask before something that hurts."""
    if not interactive():
        raise BadInputError("this needs a yes, and there is no terminal to ask on: add --yes")
    if not click.confirm(question, err=True):
        raise Failed("nothing was done")
