"""``regcred platform``: Vault's side, as declared in ``infra/vault``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from regcred.cli.failures import Failed
from regcred.cli.groups import CommandGroup
from regcred.cli.output import output_option, print_json, say, write
from regcred.cli.prompts import confirm
from regcred.cli.session import CliSession, PlatformService, pass_session
from regcred.vault.platform import ChangeKind, PlatformStep, ignore
from regcred.wording import plural

PRUNE = "'regcred platform apply --prune' deletes what is not declared"

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The folder with platform.yaml; else that of REGCRED_PLATFORM, or what comes with Regcred.",
)


@click.group(
    cls=CommandGroup,
    help="""Set up Vault: mount, policies, sign-in, groups.

    This is for platform operators. It needs a token with the policy regcred-platform-operator, or the root
    token for the first run. Outside the mount, it changes only objects that are named regcred-....
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
        say("nothing to do: all is as declared")
    elif any(action.verb is ChangeKind.DELETE for action in actions):
        say("deletions are made only by 'regcred platform apply --prune'")


@platform.command(help="Change Vault to match the declaration. A second run changes nothing.")
@directory_option
@click.option("--prune", is_flag=True, help="Also delete what is named as ours and not declared (any more).")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before deletions.")
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
        say("nothing to do: all is as declared")
    if left:
        names = ", ".join(str(action.resource) for action in left)
        say(f"not declared, and left in place: {names}; {PRUNE}")
    if unreadable:
        raise Failed("; ".join(unreadable))


@platform.command(help="Fail if Vault differs from the declaration. Use it in a pipeline or a monitor.")
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
        raise Failed(f"{plural(len(actions), 'difference')} from what is declared; {_remedies(actions)}")
    if notes:
        raise Failed("Vault is as declared, but the declaration is behind Regcred")
    if not as_json:
        say("all is as declared")


def _remedies(actions: list[PlatformStep]) -> str:
    gone = sum(action.verb is ChangeKind.DELETE for action in actions)
    mends = f"'regcred platform apply' fixes {'what differs' if gone else 'them'}"
    return ", and ".join([*([mends] if len(actions) > gone else []), *([PRUNE] if gone else [])])


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
