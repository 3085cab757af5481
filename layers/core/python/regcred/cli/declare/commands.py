"""``regcred diff``, ``apply``, ``export`` and ``schema``: the commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from regcred.cli.declare.output import check, done_json, problems_error, report, show, summary
from regcred.cli.declare.upstream import read_upstream_secrets
from regcred.cli.failures import BadInputError, Differs, Failed, user_input
from regcred.cli.output import output_option, print_json, say, write, write_document
from regcred.cli.parameters import PROJECT, WholeNumber, all_of
from regcred.cli.prompts import confirm
from regcred.cli.session import CliSession, pass_session
from regcred.cli.text_input import read_text
from regcred.declare import export as exporting
from regcred.declare import files
from regcred.declare.apply import AppliedPlan, PlanApplier
from regcred.declare.kinds import DeclaredKind, Item, ObjectKey
from regcred.declare.live_objects import Live, look
from regcred.declare.live_platform import Operator, look_at_platform
from regcred.declare.plan import plan
from regcred.declare.schema import schema as schema_of
from regcred.declare.steps import DeclarationPlan, Step, Terms
from regcred.errors import MalformedError, MissingError, RefusedError
from regcred.vault.platform.declaration import Declaration
from regcred.wording import plural

PROGRESS_EVERY = 500
"""The number of documents or steps between two progress messages."""

REMOVALS = 10
"""The maximum number of removals, unless the user allows more."""


_source = all_of(
    click.option(
        "-f",
        "--file",
        "sources",
        metavar="DIR|FILE|-",
        multiple=True,
        required=True,
        help="YAML or JSON files; '-' is standard input. You can repeat this option.",
    ),
    click.option(
        "--owner",
        metavar="NAME",
        default="",
        help="The name of this source of files. It is recorded with each object, and --prune needs it.",
    ),
    click.option(
        "--prune",
        is_flag=True,
        help="Also remove objects that this owner declared before and no longer declares.",
    ),
    click.option("--take-over", is_flag=True, help="Also change objects of another owner."),
    click.option(
        "--project",
        "projects",
        type=PROJECT,
        multiple=True,
        metavar="P",
        help="With --prune: a project to compare, if your token may not list projects.",
    ),
)


@click.command(
    short_help="Show what 'apply' would change.",
    help="""Show what 'apply' would change. This writes nothing and reads no secret.

    The exit code is 0 if 'apply' would change nothing, and 6 if it would. Any other code means that the
    command failed.

    \b
    Example:
      regcred diff -f fleet/ --owner platform --prune
    """,
)
@_source
@output_option
@pass_session
def diff(
    session: CliSession,
    sources: Sequence[str],
    owner: str,
    prune: bool,
    take_over: bool,
    projects: Sequence[str],
    as_json: bool,
) -> None:
    """Run ``regcred diff``."""
    terms = _terms(owner, prune=prune, take_over=take_over)
    wanted = _read(sources)
    found = _compare(session, wanted, terms, projects, _operator(session, wanted))[0]
    show(found, as_json=as_json)
    check(found)
    if found.steps:
        raise Differs(f"{summary(found.steps)}; 'regcred apply' makes them")
    if not as_json:
        say("nothing to do: Vault matches the files")


@click.command(
    short_help="Change Vault to match the files.",
    help="""Change Vault to match the files. A second run changes nothing.

    Changes that remove access come first, and changes that give access come last. If a run is interrupted, or
    stops because somebody else writes at the same time, run the command again to continue.

    \b
    Examples:
      regcred apply -f fleet/
      regcred apply -f fleet/ --owner platform --prune --yes
      regcred export | regcred apply -f -
    """,
)
@_source
@click.option(
    "--allow-removals",
    type=WholeNumber(min=0),
    default=REMOVALS,
    show_default=True,
    metavar="N",
    help="The maximum number of removals. With more, nothing is written.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation of removals.")
@output_option
@pass_session
def apply(
    session: CliSession,
    sources: Sequence[str],
    owner: str,
    prune: bool,
    take_over: bool,
    projects: Sequence[str],
    allow_removals: int,
    yes: bool,
    as_json: bool,
) -> None:
    """Run ``regcred apply``."""
    terms = _terms(owner, prune=prune, take_over=take_over)
    wanted = _read(sources)
    operator = _operator(session, wanted)
    found, live = _compare(session, wanted, terms, projects, operator)
    check(found)
    if found.removals > allow_removals:
        show(found, as_json=as_json)
        raise Failed(
            f"nothing was written: the files make {plural(found.removals, 'removal')}, and the limit is "
            f"{allow_removals}; if you want that, add --allow-removals {found.removals}"
        )
    needed = read_upstream_secrets(session, wanted, found, sources)
    if found.removals and not yes:
        for step in found.steps:
            if step.removals:
                say(str(step))
        confirm(f"Make {plural(found.removals, 'removal')}?")
    done = _carry_out(session, found, needed, operator, quiet=as_json)
    if as_json:
        print_json(done_json(done, found, live))
    report(done, as_json=as_json)


@click.command(
    help="""Write the state of Vault as files for 'apply'.

    Name projects to write only those. The default is all projects that you may read. The files contain no
    secret. 'regcred export | regcred apply -f -' changes nothing.
    """,
)
@click.argument("projects", metavar="[P]...", type=PROJECT, nargs=-1)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write one file per object to this folder.",
)
@output_option
@pass_session
def export(session: CliSession, projects: Sequence[str], directory: Path | None, as_json: bool) -> None:
    """Run ``regcred export``."""
    if as_json and directory:
        raise BadInputError("-o json writes to standard output: leave out --dir")
    if directory:
        _check_no_declared_files(directory)
    live = look(session.store, [], everything=True, projects=projects)
    if not projects:
        operator = session.open_operator(None, None)
        live = replace(live, platform=look_at_platform(operator, {}, everything=True, export=True))
    for note in (*live.notes, *live.platform.notes, *exporting.notes(live)):
        say(f"note: {note}")
    found = [
        (key, content, secret)
        for key, content, secret in exporting.objects(live)
        if not projects or (key.scope if key.kind is DeclaredKind.REGISTRY else key.name) in projects
    ]
    lost = exporting.unreadable(live)
    if as_json:
        print_json({"objects": [content for _, content, _ in found], "unreadable": lost})
    else:
        _write_objects(found, directory)
    if lost:
        raise Failed(f"not exported, because it can't be read: {', '.join(lost)}")
    if live.notes and not projects:
        raise RefusedError(
            "the export is not complete; if you may read only some projects, name them: regcred export P"
        )


def _check_no_declared_files(directory: Path) -> None:
    """Refuse a folder with declared files.

    They may declare objects that no longer exist, and people may have edited them.
    """
    try:
        (first, *_) = files.paths(directory)
    except MissingError:
        return
    raise BadInputError(f"--dir: {directory} contains {first}; name a new folder, or empty this one")


def _write_objects(found: Sequence[tuple[ObjectKey, dict[str, Any], bool]], directory: Path | None) -> None:
    for key, content, secret in found:
        text = exporting.text(content, secret=secret)
        if directory is None:
            write_document(f"---\n{text}")
            continue
        path = directory / exporting.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    if directory:
        say(f"{plural(len(found), 'file')} written to {directory}")


@click.command(help="Print the JSON schema of a kind of file, for an editor.")
@click.argument("kind", type=click.Choice([str(kind) for kind in DeclaredKind], case_sensitive=False))
def schema(kind: str) -> None:
    """Run ``regcred schema``."""
    print_json(schema_of(next(known for known in DeclaredKind if known.lower() == kind.lower())))


def _terms(owner: str, *, prune: bool, take_over: bool) -> Terms:
    if prune and not owner:
        raise BadInputError("--prune removes only objects of an owner: add --owner NAME")
    if owner:
        from regcred.registry_reference import check_label

        with user_input("--owner"):
            check_label(owner, field="owner")
    return Terms(owner, prune, take_over)


def _read(sources: Sequence[str]) -> dict[ObjectKey, Item]:
    texts: list[tuple[str, str]] = []
    try:
        for source in sources:
            paths = ["-"] if source == "-" else map(str, files.paths(Path(source)))
            texts += [read_text(path, maximum=files.FILE_MAX) for path in paths]
        found = files.items(texts)
    except MissingError as error:
        raise BadInputError(str(error)) from None
    except MalformedError as error:
        raise problems_error([text for _, text in error.problems]) from None
    if not found:  # perhaps a command before the pipe failed
        raise BadInputError(f"{', '.join(sources)}: declares no object")
    return found


def _operator(session: CliSession, wanted: Mapping[ObjectKey, Item]) -> Operator:
    """The platform that the files declare, or else the platform of 'regcred platform apply'."""
    for item in wanted.values():
        if isinstance(item.value, Declaration):
            with user_input():
                return session.open_operator(item.value, Path(item.source).parent)
    return session.open_operator(None, None)


def _compare(
    session: CliSession,
    wanted: Mapping[ObjectKey, Item],
    terms: Terms,
    projects: Sequence[str],
    operator: Operator,
) -> tuple[DeclarationPlan, Live]:
    platform = look_at_platform(operator, wanted, owner=terms.owner, everything=terms.prune)
    # The mount does not exist yet, and the same files declare it. So it is empty.
    is_new = not platform.exists and any(key.kind is DeclaredKind.PLATFORM for key in wanted)
    live = (
        Live()
        if is_new
        else look(
            session.store,
            wanted,
            everything=terms.prune,
            projects=projects,
            on_progress=partial(_report_count, "compared"),
        )
    )
    live = replace(live, platform=platform)
    found = plan(wanted, live, terms)
    for note in (*live.notes, *platform.notes, *found.notes):
        say(f"note: {note}")
    return found, live


def _report_count(what: str, count: int) -> None:
    if count % PROGRESS_EVERY == 0:
        say(f"{count} {what}")


def _carry_out(
    session: CliSession,
    found: DeclarationPlan,
    needed: Mapping[ObjectKey, Mapping[str, SecretStr]],
    operator: Operator,
    *,
    quiet: bool,
) -> AppliedPlan:
    finished = Counter[str]()

    def report(step: Step) -> None:
        finished["steps"] += 1
        if not quiet and len(found.steps) <= PROGRESS_EVERY:
            write(str(step))
        elif finished["steps"] % PROGRESS_EVERY == 0:
            say(f"{finished['steps']} of {plural(len(found.steps), 'step')} done")

    applier = PlanApplier(session.store, secrets=needed, now=session.now, operator=operator, on_step=report)
    done = applier.run(found)
    if done.not_set_up:
        say(
            f"next: a platform operator runs 'regcred platform apply', which updates the access of clusters"
            f" and people to {', '.join(sorted(done.not_set_up))}; your token may not do that"
        )
    for project in sorted({step.key.scope for step in done.steps if step.key.kind is DeclaredKind.REGISTRY}):
        session.nudge(project)
    return done
