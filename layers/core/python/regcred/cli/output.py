"""Output for people and programs: tables, notes and JSON.

Results go to standard output. Everything else goes to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import click

from regcred.printable import printable, printable_lines

F = TypeVar("F", bound=Callable[..., Any])

_STYLES = {"ok": "green", "failing": "bold red", "revoked": "red", "removed": "dim", "pending": "yellow"}


def output_option(command: F) -> F:
    """Add ``-o json`` to a command that reads. The command gets it as ``as_json``."""
    return click.option(
        "-o",
        "--output",
        "as_json",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        callback=lambda _ctx, _parameter, value: value == "json",
        help="Output format.",
    )(command)


def print_json(value: Any) -> None:
    """Print a JSON document."""
    click.echo(json.dumps(value, indent=2))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: colored and wrapped on a terminal, otherwise as columns for ``grep`` and ``awk``."""
    clean = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich_table(headers, clean)
        return
    lines = [[header.upper() for header in headers], *[[cell or "-" for cell in row] for row in clean]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header.upper(), overflow="fold")
    for row in rows:
        table.add_row(*[Text(cell or "-", style=_STYLES.get(cell, "")) for cell in row])
    Console(highlight=False).print(table)


def say(text: str) -> None:
    """Print one line on standard error that is not a result: progress, a next step or a warning."""
    click.echo(printable(text), err=True)


@dataclass(frozen=True, slots=True)
class Styled:
    """A part of a line with colour."""

    text: str
    colour: str = ""
    bold: bool = False


def write(*parts: str | Styled) -> None:
    """Print one line of a result. No part can contain a line break or a control character of terminals."""
    click.echo("".join(map(_part, parts)))


def _part(part: str | Styled) -> str:
    if isinstance(part, str):
        return printable(part)
    return click.style(printable(part.text), fg=part.colour or None, bold=part.bold or None)


def write_document(text: str, *, err: bool = False) -> None:
    """Print a result of several lines. Only control characters of terminals are replaced."""
    click.echo(printable_lines(text), nl=False, err=err)


def time_text(time: datetime | None) -> str | None:
    """A time for programs: ISO 8601 in UTC, or None."""
    return None if time is None else time.isoformat()
