"""``regcred platform``: sets up Vault as a declaration says, by default the one in ``infra/vault``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from regcred.cli.command_groups import CommandGroup
from regcred.cli.failures import Failed
from regcred.cli.output import output_option, print_json, say, write
from regcred.cli.prompts import confirm
from regcred.cli.session import CliSession, PlatformService, pass_session
from regcred.vault.platform import ChangeKind, PlatformStep, ignore
from regcred.wording import plural

PRUNE = "'regcred platform apply --prune' deletes undeclared objects"

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The folder with platform.yaml. Default: REGCRED_PLATFORM, or else the one that comes with Regcred.",
)


@click.group(
    cls=CommandGroup,
    help="""Set up Vault: mount, policies, sign-in, groups.

    This is for platform operators. It needs a token with the policy regcred-platform-operator, or the root
    token for the first run. Outside the mount, it changes only objects whose names begin with 'regcred-'.
    """,
)
def platform() -> None:
    """Group the commands of ``regcred platform``."""


@platform.command(help="Show what 'apply' would change.")
@directory_option
@output_option
@pass_session
def plan(session: CliSession, directory: Path | None, as_json: bool) -> None:
    """Run ``regcred platform plan``."""
    tool = session.open_platform(directory)
    unreadable: list[str] = []
    actions = tool.plan(unreadable.append)
    if as_json:
        found = {"actions": [_json(action) for action in actions], "notes": list(tool.notes)}
        print_json({**found, "unreadable": unreadable})
        return
    _print(actions)
    _say_notes([*tool.notes, *unreadable])
    if not actions:
        say("nothing to do: Vault matches the declaration")
    elif any(action.verb is ChangeKind.DELETE for action in actions):
        say("only 'regcred platform apply --prune' makes the deletions")


@platform.command(help="Change Vault to match the declaration. A second run changes nothing.")
@directory_option
@click.option("--prune", is_flag=True, help="Also delete undeclared objects of Regcred.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation of deletions.")
@pass_session
def apply(session: CliSession, directory: Path | None, prune: bool, yes: bool) -> None:
    """Run ``regcred platform apply``."""
    tool = session.open_platform(directory)
    if prune and not yes:
        gone = _undeclared(tool)
        if gone:
            _print(gone)
            confirm(f"Make {plural(len(gone), 'deletion')}?")
    unreadable: list[str] = []
    done = tool.apply(unreadable.append, prune=prune)
    _print(done)
    _say_notes(tool.notes)
    left = [] if prune else _undeclared(tool)
    if done:
        say(f"{plural(len(done), 'change')} made")
    elif not left:
        say("nothing to do: Vault matches the declaration")
    if left:
        names = ", ".join(str(action.resource) for action in left)
        say(f"not declared, but kept: {names}; {PRUNE}")
    if unreadable:
        raise Failed("; ".join(unreadable))


@platform.command(help="Fail if Vault differs from the declaration. Use this in a pipeline or a monitor.")
@directory_option
@output_option
@pass_session
def check(session: CliSession, directory: Path | None, as_json: bool) -> None:
    """Run ``regcred platform check``."""
    tool = session.open_platform(directory)
    unreadable: list[str] = []
    actions, notes = tool.plan(unreadable.append), list(tool.notes)
    if as_json:
        print_json(
            {
                "as_declared": not (actions or unreadable),
                "actions": [_json(action) for action in actions],
                "notes": notes,
                "unreadable": unreadable,
            }
        )
    else:
        _print(actions)
        for note in notes:
            write(note)
    if unreadable:
        raise Failed("; ".join(unreadable))
    if actions:
        raise Failed(f"{plural(len(actions), 'difference')} from the declaration; {_remedies(actions)}")
    if notes:
        raise Failed("Vault matches the declaration, but the declaration is older than Regcred")
    if not as_json:
        say("Vault matches the declaration")


def _remedies(actions: list[PlatformStep]) -> str:
    deletions = sum(action.verb is ChangeKind.DELETE for action in actions)
    fix = f"'regcred platform apply' fixes {'the others' if deletions else 'them'}"
    return ", and ".join([*([PRUNE] if deletions else []), *([fix] if len(actions) > deletions else [])])


def _undeclared(tool: PlatformService) -> list[PlatformStep]:
    return [action for action in tool.plan(ignore) if action.verb is ChangeKind.DELETE]


def _say_notes(notes: Iterable[str]) -> None:
    for note in notes:
        say(note)


def _print(actions: list[PlatformStep]) -> None:
    for action in actions:
        write(str(action))


def _json(action: PlatformStep) -> dict[str, object]:
    return {
        "verb": action.verb,
        "kind": action.resource.kind,
        "name": action.resource.name,
        "changed": list(action.changed),
    }
