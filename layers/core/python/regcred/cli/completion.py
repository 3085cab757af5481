"""Shell completion with names from Vault, read with the user's token. Every failure is silent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import click

from regcred.cli.session import CliSession
from regcred.vault.store import Store

PATIENCE = 2.0
"""The maximum seconds to wait for Vault after the Tab key."""

EXPANDED = 8
"""If at most this number of projects match, their registries are offered at once."""


def projects(ctx: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Names of projects."""
    return _found(ctx, lambda store: _starting(store.projects(), typed))


def clusters(ctx: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Names of clusters."""
    return _found(ctx, lambda store: _starting(store.clusters(), typed))


def references(ctx: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """References. If many projects match, return their names with a slash instead."""

    def read(store: Store) -> list[str]:
        project, slash, _ = typed.partition("/")
        names = [project] if slash else _starting(store.projects(), typed)
        if len(names) > EXPANDED:
            return [f"{name}/" for name in names]
        return _starting(
            [f"{name}/{registry}" for name in names for registry in store.registries(name)], typed
        )

    return _found(ctx, read)


def projects_and_references(ctx: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Names of projects, and references."""
    return [*([] if "/" in typed else projects(ctx, parameter, typed)), *references(ctx, parameter, typed)]


def _starting(names: list[str], typed: str) -> list[str]:
    # A name in Vault can contain anything, even what a shell would run.
    return [
        name
        for name in names
        if name.startswith(typed) and all(c.isascii() and (c.isalnum() or c in "-/") for c in name)
    ]


def _found(ctx: click.Context, read: Callable[[Store], list[str]]) -> list[str]:
    """The result of a read; empty if it fails or takes too long."""
    session = ctx.find_object(CliSession) or CliSession(open_store=_quiet_store)
    found: list[str] = []

    def look() -> None:
        with suppress(Exception):
            found.extend(read(session.open_store()))

    reader = threading.Thread(target=look, daemon=True)
    reader.start()
    reader.join(PATIENCE)
    return list(found)


def _quiet_store() -> Store:
    from regcred.wiring.cli import store

    return store()
