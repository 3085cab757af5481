"""Command groups that load each command at its first use, and suggest similar names after a typing error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module

import click

from regcred.cli.output import write_document


class CommandGroup(click.Group):
    """A group that shows its help if no command is given, and suggests names if a command does not exist."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help if no command is given."""
        if not args and not ctx.resilient_parsing:
            write_document(f"{ctx.get_help()}\n")
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. If it does not exist, the error suggests similar names."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            hint = _or([f"'{known}'" for known in self.suggestions(ctx, name)])
            raise click.UsageError(
                f"no such command '{name}'" + (f"; did you mean {hint}?" if hint else ""), ctx
            )
        return super().resolve_command(ctx, args)

    def suggestions(self, ctx: click.Context, name: str) -> list[str]:
        """Similar names of commands, best first."""
        return get_close_matches(name, self.list_commands(ctx), n=3, cutoff=0.65)


@dataclass(frozen=True, slots=True)
class Lazy:
    """Where a command is, and its line in the help, so that the help need not load it."""

    module: str
    attribute: str
    summary: str


class Root(CommandGroup):
    """The top level. It loads a command when it is used, so ``--help`` loads none."""

    sections: Mapping[str, Mapping[str, Lazy]] = {}
    """The commands by name, for each heading of the help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, in the order of the help."""
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Load a command."""
        lazy = next((section[cmd_name] for section in self.sections.values() if cmd_name in section), None)
        if lazy is None:
            return None
        command = getattr(import_module(lazy.module), lazy.attribute)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of the help."""
        width = max(map(len, self.list_commands(ctx)))
        for heading, section in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), lazy.summary) for name, lazy in section.items()])

    def suggestions(self, ctx: click.Context, name: str) -> list[str]:
        """The groups that have a subcommand of this name (``list``), or else similar names."""
        groups = [
            f"{group} {name}"
            for group in self.list_commands(ctx)
            if isinstance(command := self.get_command(ctx, group), click.Group) and name in command.commands
        ]
        return groups or super().suggestions(ctx, name)


def _or(items: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(items[:-1]), items[-1]])) if items else ""
