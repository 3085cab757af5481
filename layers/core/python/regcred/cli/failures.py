"""What a failure looks like to a person and to a shell: one line and an exit code (docs/cli.md lists them)."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

import click

from regcred.errors import (
    ConflictError,
    MalformedError,
    MissingError,
    RefusedError,
    RegcredError,
    TransientError,
)


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    """A wrong option, argument, file or environment variable: the input must be changed."""
    REFUSED = 3
    MISSING = 4
    TRY_AGAIN = 5
    """It may work later with the same input."""
    DIFFERS = 6
    """``diff`` found something that ``apply`` would change."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141


_CODES: tuple[tuple[type[RegcredError], ExitCode], ...] = (
    (RefusedError, ExitCode.REFUSED),
    (MissingError, ExitCode.MISSING),
    (TransientError, ExitCode.TRY_AGAIN),
    (ConflictError, ExitCode.TRY_AGAIN),
)


class BadInputError(click.UsageError):
    """What the user gave is wrong; the message names it and the remedy."""


class Failed(click.ClickException):
    """The command ran, and its outcome is a failure (a rotation that the registry refused, say)."""

    exit_code = ExitCode.FAILED


class Differs(Failed):
    """What was compared is not the same."""

    exit_code = ExitCode.DIFFERS


@contextmanager
def user_input(where: str = "") -> Iterator[None]:
    """Turn a MalformedError inside into BadInputError: the input came from the user, not from Vault."""
    try:
        yield
    except MalformedError as error:
        raise BadInputError(f"{where}: {error}" if where else str(error)) from None


def describe(error: BaseException) -> tuple[str, ExitCode]:
    """The line to print (without the leading ``regcred: ``) and the exit code for any failure."""
    if isinstance(error, RegcredError):
        code = next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)
        return str(error), code
    if isinstance(error, click.UsageError):
        return _usage(error), ExitCode.USAGE
    if isinstance(error, click.ClickException):
        return _line(error.format_message()), ExitCode(error.exit_code)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted", ExitCode.INTERRUPTED
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or 'cannot be used').lower()}", ExitCode.FAILED
    return _bug(error), ExitCode.FAILED


def _usage(error: click.UsageError) -> str:
    text = error.format_message()
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter):
        # Our messages name the value and what is wrong with it; of click's preface only the option's name is wanted.
        option = max(error.param.opts, key=len) if isinstance(error.param, click.Option) else ""
        text = f"{option}: {error.message}" if option else error.message
    command = error.ctx.command_path if error.ctx else "regcred"
    line = _line(text).rstrip(".")
    if not isinstance(error, BadInputError):
        line = line[:1].lower() + line[1:]
    return line if isinstance(error, BadInputError) else f"{line} (see '{command} --help')"


def _bug(error: BaseException) -> str:
    # The text of an unexpected error may hold anything, a secret included: only its type and place are shown.
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"internal error ({type(error).__name__}{place}); this is a bug: please report it with this line"


def _line(text: str) -> str:
    return " ".join(text.split())
