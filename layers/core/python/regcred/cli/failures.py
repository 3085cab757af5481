"""Turns every failure into one line and an exit code (docs/cli.md lists the codes)."""

from __future__ import annotations

import errno
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
    """An option, argument, file or environment variable is wrong. The user must change it."""
    REFUSED = 3
    MISSING = 4
    TRY_AGAIN = 5
    """The same input may work later."""
    DIFFERS = 6
    """``diff`` found a difference that ``apply`` would change."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141


_CODES: tuple[tuple[type[RegcredError], ExitCode], ...] = (
    (RefusedError, ExitCode.REFUSED),
    (MissingError, ExitCode.MISSING),
    (TransientError, ExitCode.TRY_AGAIN),
    (ConflictError, ExitCode.TRY_AGAIN),
)


_CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Errors of a write to a file without a name, such as standard output."""


class BadInputError(click.UsageError):
    """The user's input is wrong. The message names the input and the remedy."""


class Failed(click.ClickException):
    """The command ran, but its outcome is a failure, such as a rotation that the registry refused."""

    exit_code = ExitCode.FAILED


class Differs(Failed):
    """The two sides of a comparison differ."""

    exit_code = ExitCode.DIFFERS


@contextmanager
def user_input(where: str = "") -> Iterator[None]:
    """Convert a MalformedError in the block to a BadInputError. Use it where the user gave the input."""
    try:
        yield
    except MalformedError as error:
        raise BadInputError(f"{where}: {error}" if where else str(error)) from None


def describe(error: BaseException) -> tuple[str, ExitCode]:
    """The line to print, without the leading ``regcred: ``, and the exit code."""
    if isinstance(error, RegcredError):
        code = next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)
        return str(error), code
    if isinstance(error, click.UsageError):
        return _usage(error), ExitCode.USAGE
    if isinstance(error, click.ClickException):
        return _line(error.format_message()), ExitCode(error.exit_code)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted", ExitCode.INTERRUPTED
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _CANNOT_WRITE):
        what = "can't write the output" if error.filename is None else error.filename
        return f"{what}: {(error.strerror or 'cannot be used').lower()}", ExitCode.FAILED
    return _bug(error), ExitCode.FAILED


def _usage(error: click.UsageError) -> str:
    text = error.format_message()
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter):
        # Regcred's messages name the value and its error, so only the option's name is added.
        option = max(error.param.opts, key=len) if isinstance(error.param, click.Option) else ""
        text = f"{option}: {error.message}" if option else error.message
    command = error.ctx.command_path if error.ctx else "regcred"
    line = _line(text).rstrip(".")
    if not isinstance(error, BadInputError):
        line = line[:1].lower() + line[1:]
    return line if isinstance(error, BadInputError) else f"{line} (see '{command} --help')"


def _bug(error: BaseException) -> str:
    # The text of an unexpected error may contain anything, even a secret. Show only its type and location.
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"internal error ({type(error).__name__}{place}); this is a bug: please report it with this line"


def _line(text: str) -> str:
    return " ".join(text.split())
