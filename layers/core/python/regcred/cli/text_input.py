"""Reads text that the user names: a file, a pipe, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from regcred.cli.failures import BadInputError

STDIN = "standard input"


def read_text(source: str, *, maximum: int, form: str = "") -> tuple[str, str]:
    """Read UTF-8 text. Return the name of its source for errors, and the text.

    Args:
        source: A path, or ``-`` for standard input.
        maximum: The maximum size in bytes, because a device or a pipe may never end.
        form: What to write, for the error about text that is not UTF-8.

    Raises:
        BadInputError: the source can't be read, is too large, or is not UTF-8 text.
    """
    where = STDIN if source == "-" else source
    try:
        if source == "-":
            content = _standard_input().read(maximum + 1)
        else:
            with Path(source).open("rb") as file:
                content = file.read(maximum + 1)
    except OSError as error:
        raise BadInputError(
            f"{where}: can't be read: {(error.strerror or 'unknown error').lower()}"
        ) from None
    if len(content) > maximum:
        raise BadInputError(f"{where}: is larger than {maximum} bytes; split it")
    try:
        text = content.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError:
        raise BadInputError(f"{where}: is not UTF-8 text{f'; {form}' if form else ''}") from None
    return where, text.replace("\r\n", "\n")


def _standard_input() -> BinaryIO:
    if sys.stdin is None:  # the process was started without standard input
        raise BadInputError(f"{STDIN}: is closed")
    return sys.stdin.buffer
