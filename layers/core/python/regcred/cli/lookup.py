"""Lookups for people: suggestions for misspelt names, and lists of what the user may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import TypeVar

from regcred.cli.output import say
from regcred.errors import MalformedError, MissingError, RefusedError, RegcredError
from regcred.registry.definition import BaseDefinition
from regcred.registry.parsing import parse
from regcred.registry_reference import Reference, check_label
from regcred.vault.records.declared import Definition
from regcred.vault.records.history import History
from regcred.vault.records.index import Index
from regcred.vault.records.paths import registry_path
from regcred.vault.records.status import Status
from regcred.vault.store import Store, Versioned

R = TypeVar("R")


def definition(store: Store, reference: Reference) -> Versioned[Definition]:
    """A registry's definition.

    Raises:
        MissingError: it does not exist; the text has the nearest names.
    """
    found = store.definition(reference)
    if found is None:
        raise no_such_registry(store, reference)
    return found


def check_exists(store: Store, reference: Reference) -> None:
    """Check that a registry exists.

    Its definition may be broken: such a registry can be replaced, revoked and removed.

    Raises:
        MissingError: see :func:`definition`.
    """
    with suppress(MalformedError):
        definition(store, reference)


def typed_definition(store: Store, reference: Reference) -> BaseDefinition:
    """A registry's definition in the type of its provider.

    Raises:
        MissingError: see :func:`definition`.
        MalformedError: names each field that is wrong.
    """
    return parse(definition(store, reference).value.content(), where=registry_path(reference))


NAMES_SHOWN = 20
"""How many registries an error names."""


def find_upstream(store: Store, reference: Reference) -> bool | None:
    """Whether the upstream secret exists; None if the token may not read that."""
    try:
        return store.upstream_version(reference) > 0
    except RefusedError:
        return None


def no_such_registry(store: Store, reference: Reference) -> MissingError:
    """The error for a registry that does not exist, with the nearest names."""
    try:
        names = store.registries(reference.project)
    except RegcredError:
        names = []
    return MissingError(f"there is no registry {reference}; {_hint(reference, names)}")


def _hint(reference: Reference, names: list[str]) -> str:
    close = get_close_matches(reference.registry, names, n=2)
    if close:
        return f"did you mean {' or '.join(f'{reference.project}/{name}' for name in close)}?"
    if names:
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        return f"project {reference.project} has {', '.join(names[:NAMES_SHOWN])}{more}"
    return (
        f"project {reference.project} has no registries; 'regcred registry list' shows those that you may see"
    )


def projects(store: Store, named: Iterable[str], command: str) -> list[str]:
    """The projects for a command: the named ones, or else all.

    Raises:
        RefusedError: none is named, and the token may not list them.
    """
    if chosen := list(named):
        return chosen
    try:
        return [name for name in store.projects() if not _odd(f"project {name}", name)]
    except RefusedError as error:
        raise RefusedError(
            f"{error}. If you may see some projects only, name one: {command} PROJECT"
        ) from None


def registries(store: Store, project: str) -> list[Reference]:
    """A project's registries. Invalid names, which somebody wrote manually, are reported and left out."""
    return [
        Reference(project, name) for name in store.registries(project) if not _odd(f"{project}/{name}", name)
    ]


def _odd(what: str, name: str) -> bool:
    try:
        check_label(name, field="its name")
    except MalformedError as error:
        say(f"note: {what} is left out: {error}")
        return True
    return False


def readable(read: Callable[[], Versioned[R] | None], what: str) -> Versioned[R] | None:
    """One item of a list; None if it no longer exists or is broken.

    A broken item is reported, and does not hide the others.
    """
    try:
        return read()
    except MalformedError as error:
        say(f"note: {what} is left out: {error}")
        return None


@contextmanager
def replaceable(command: str) -> Iterator[None]:
    """Add to the error of an unreadable document the command that replaces it."""
    try:
        yield
    except MalformedError as error:
        raise MalformedError(f"{error}. Fix it, or start over: {command}", field=error.field) from None


def history(store: Store, project: str) -> History:
    """A project's history; empty if there is none. If it is unreadable, that is reported as a note."""
    try:
        found = store.history(project)
    except (RefusedError, MalformedError) as error:
        say(f"note: the last outcomes of {project} are left out: {error}")
        return History()
    return found.value if found else History()


def index(store: Store, project: str) -> Index:
    """A project's index; empty before the first rotation."""
    found = store.index(project)
    return found.value if found else Index()


def statuses(
    store: Store, project: str, clusters: Iterable[str], on_error: Callable[[str, RegcredError], None]
) -> dict[str, Status]:
    """Each cluster's status of a project. An unreadable status is left out, and does not hide the others.

    Args:
        store: Where to look.
        project: The project.
        clusters: The clusters that may read it.
        on_error: Takes each cluster whose status is refused or malformed, and the error.
    """
    found = {}
    for cluster in clusters:
        try:
            if status := store.status(cluster, project):
                found[cluster] = status.value
        except (RefusedError, MalformedError) as error:
            on_error(cluster, error)
    return found
