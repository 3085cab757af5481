"""docs/cli.md contains the help of the command line. Run as a program, this file updates the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from regcred.cli.app import app
from regcred.cli.failures import ExitCode
from regcred.wiring.sync.settings import SyncSettings

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
HEADING = "## Commands\n"
WIDTH = 100


def test_the_document_contains_the_help_of_each_command():
    assert DOCUMENT.read_text("utf-8") == written(), "run: .venv/bin/python tests/unit/test_cli_docs.py"


def test_no_line_of_a_help_is_cut_on_a_narrow_terminal():
    """click shortens the first sentence of a command's help in the list of its group."""
    cut = {
        (path, line)
        for path, text in helps(app(), "regcred", None, width=80)
        for line in text.splitlines()
        if line.endswith("...") and "Commands:" in text.partition(line)[0]
    }
    assert cut == set()


def test_every_exit_code_is_documented():
    listed = re.findall(r"^\| (\d+) \|", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)
    assert [int(code) for code in listed] == sorted(ExitCode)


def test_every_setting_of_sync_is_documented():
    listed = set(re.findall(r"`(REGCRED_[A-Z_]+)`", DOCUMENT.read_text("utf-8")))
    assert {f"REGCRED_{name.upper()}" for name in SyncSettings.model_fields} - listed == set()


def test_each_command_in_an_example_exists():
    root = app()
    context = click.Context(root)
    for words in re.findall(
        r"^regcred ([a-z-]+)", DOCUMENT.read_text("utf-8").partition(HEADING)[0], flags=re.MULTILINE
    ):
        assert root.get_command(context, words), words


def written() -> str:
    """The page with the current help of all commands."""
    head, _, rest = DOCUMENT.read_text("utf-8").partition(HEADING)
    intro = rest.partition("\n### ")[0].rstrip()
    sections = [f"### {path}\n\n```text\n{text}\n```" for path, text in helps(app(), "regcred", None)]
    return head + HEADING + intro + "\n\n" + "\n\n".join(sections) + "\n"


def helps(
    command: click.Command, path: str, parent: click.Context | None, width: int = WIDTH
) -> Iterator[tuple[str, str]]:
    """The help of a command and of its subcommands."""
    settings = {**command.context_settings, "terminal_width": width}
    context = click.Context(command, info_name=path.rsplit(maxsplit=1)[-1], parent=parent, **settings)
    yield path, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from helps(child, f"{path} {name}", context, width)


if __name__ == "__main__":
    DOCUMENT.write_text(written(), "utf-8")
