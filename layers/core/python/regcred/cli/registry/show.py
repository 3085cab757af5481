"""``regcred registry list`` and ``show``: definitions, and the state of their credentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import click

from regcred.cli import lookup
from regcred.cli.outcomes import attempt_json, outcome_text
from regcred.cli.output import output_option, print_json, print_table, say, time_text, write, write_document
from regcred.cli.parameters import PROJECT, REFERENCE
from regcred.cli.session import CliSession, pass_session
from regcred.errors import MalformedError
from regcred.printable import is_plain
from regcred.registry_reference import Reference
from regcred.vault.records.index import IndexEntry
from regcred.vault.store import Store
from regcred.wording import expires_in

OUTCOMES_SHOWN = 10
"""How many of the last outcomes the text shows. The JSON output contains all of them."""


@click.command(
    name="list",
    short_help="List registries.",
    help="List the registries of the named projects, or of all projects that you may read.",
)
@click.argument("projects", metavar="[P]...", type=PROJECT, nargs=-1)
@output_option
@pass_session
def list_(session: CliSession, projects: Sequence[str], as_json: bool) -> None:
    """Run ``regcred registry list``."""
    store = session.store
    rows = [
        (reference, entries)
        for project in lookup.projects(store, projects, "regcred registry list")
        for entries in [_entries(store, project)]
        for reference in lookup.registries(store, project)
    ]
    found = [
        (
            reference,
            definition.value,
            entry := (entries or {}).get(reference.registry),
            _state(entry, known=entries is not None),
        )
        for reference, entries in rows
        if (definition := lookup.readable(partial(store.definition, reference), str(reference)))
    ]
    for project in projects:
        if not any(reference.project == project for reference, _ in rows):
            lookup.check_project(store, project)
    if as_json:
        print_json(
            {
                "registries": [
                    {"registry": str(reference), "state": state, "definition": definition.content()}
                    for reference, definition, _, state in found
                ]
            }
        )
        return
    if not found:
        say(lookup.no_registries(projects))
        return
    print_table(
        ["registry", "provider", "state", "hosts", "description"],
        [
            [
                str(reference),
                definition.provider,
                state,
                _few(entry.hosts if entry else []),
                str(definition.content().get("description", "")),
            ]
            for reference, definition, entry, state in found
        ],
    )


def _few(hosts: Sequence[str]) -> str:
    more = len(hosts) - 1
    return "" if not hosts else hosts[0] + (f" (+{more})" if more else "")


@click.command(
    short_help="Show a definition and the state of its credential.",
    help="Show the definition of a registry and the state of its credential. Secrets are never shown.",
)
@click.argument("reference", metavar="P/R", type=REFERENCE)
@output_option
@pass_session
def show(session: CliSession, reference: Reference, as_json: bool) -> None:
    """Run ``regcred registry show``."""
    store = session.store
    found = lookup.definition(store, reference)
    entry = lookup.index(store, reference.project).registries.get(reference.registry)
    secret = lookup.find_upstream(store, reference)
    attempts = lookup.history(store, reference.project).attempts(reference.registry)
    if as_json:
        print_json(
            {
                "registry": str(reference),
                "definition": found.value.content(),
                "definition_version": found.version,
                "upstream_secret": secret,
                "secret_name": reference.secret_name,
                "credential": _entry_json(entry),
                "last_outcomes": [attempt_json(attempt) for attempt in attempts],
            }
        )
        return
    write(f"# {reference}, definition version {found.version}")
    write_document(_yaml(found.value.content()))
    write("")
    _show_line(
        "upstream secret",
        {True: "written", False: "none", None: "unknown (your token may not check)"}[secret],
    )
    _show_line("state", _state(entry))
    if entry and entry.version:
        _show_line("credential", f"version {entry.version}, verified: {entry.verified}")
        _show_line("expires in", expires_in(entry.expires_at, session.now()))
        _show_line("hosts", ", ".join(entry.hosts))
    if entry and entry.why_unverified:
        _show_line("unverified", entry.why_unverified)
    if entry and entry.error:
        _show_line("error", entry.error)
    if entry and entry.warning:
        _show_line("warning", entry.warning)
    _show_line("Secret's name", reference.secret_name)
    for number, attempt in enumerate(attempts[:OUTCOMES_SHOWN]):
        when = f"{attempt.at:%Y-%m-%d %H:%M} UTC  {outcome_text(attempt)}"
        _show_line("" if number else "last outcomes", when)


def _yaml(content: Mapping[str, Any]) -> str:
    """The definition as YAML. If it contains control characters of terminals, YAML escapes them."""
    import yaml

    text: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    return text if is_plain(text) else yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=False)


def _show_line(name: str, value: str) -> None:
    write(f"{name:<17}{value}")


def _entry_json(entry: IndexEntry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "state": entry.state,
        "version": entry.version,
        "hosts": entry.hosts,
        "verified": entry.verified,
        "unverified": entry.why_unverified,
        "issued_for_definition_version": entry.definition_version,
        "expires_at": time_text(entry.expires_at),
        "refresh_at": time_text(entry.refresh_at),
        "error": entry.error,
        "warning": entry.warning,
    }


def _state(entry: IndexEntry | None, *, known: bool = True) -> str:
    return entry.shown_state if entry else "pending" if known else "unknown"


def _entries(store: Store, project: str) -> Mapping[str, IndexEntry] | None:
    """The entries of a project's index. If it can't be read, print a note and return None."""
    try:
        return lookup.index(store, project).registries
    except MalformedError as error:
        say(f"note: the state of the registries of {project} is left out: {error}")
        return None
