"""Reads from Vault for the commands. Broken items are reported and skipped; unknown names get suggestions."""

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
        MissingError: it does not exist. The message suggests similar names.
    """
    found = store.definition(reference)
    if found is None:
        raise no_such_registry(store, reference)
    return found


def check_exists(store: Store, reference: Reference) -> None:
    """Check that a registry exists. Its definition may be broken.

    Raises:
        MissingError: see :func:`definition`.
    """
    with suppress(MalformedError):
        definition(store, reference)


def typed_definition(store: Store, reference: Reference) -> BaseDefinition:
    """A registry's definition, parsed for its provider.

    Raises:
        MissingError: see :func:`definition`.
        MalformedError: names each wrong field.
    """
    return parse(definition(store, reference).value.content(), where=registry_path(reference))


NAMES_SHOWN = 20
"""The maximum number of registries that an error names."""


def find_upstream(store: Store, reference: Reference) -> bool | None:
    """Whether the upstream secret exists; None if the token may not check that."""
    try:
        return store.upstream_version(reference) > 0
    except RefusedError:
        return None


def check_project(store: Store, project: str) -> None:
    """Check that a project exists, so that a typing error is not shown as a project without registries.

    A project that the token may not read counts as existing.

    Raises:
        MissingError: it has neither bounds nor registries. The message suggests similar names.
    """
    try:
        exists = store.project(project) is not None or bool(store.registries(project))
    except (RefusedError, MalformedError):
        return
    if not exists:
        raise no_such_project(store, project)


def no_such_project(store: Store, project: str) -> MissingError:
    """The error for a project that does not exist. It suggests similar names."""
    hint = similar_projects(store, project) or "'regcred project list' shows all projects"
    return MissingError(f"there is no project {project}; {hint}")


def similar_projects(store: Store, project: str) -> str:
    """A question that suggests projects with a similar name; empty if none is similar or can be listed."""
    try:
        return did_you_mean(project, store.project_policies())
    except RegcredError:
        return ""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A question that suggests the names most similar to a wrong one; empty if none is similar."""
    close = get_close_matches(name, list(names), n=2)
    return f"did you mean {' or '.join(close)}?" if close else ""


def no_registries(projects: Iterable[str]) -> str:
    """The note that these projects have no registries; if none is named, the note is about all projects."""
    names = list(projects)
    if not names:
        return "there are no registries yet; add one: regcred registry add PROJECT/REGISTRY"
    return (
        f"{', '.join(names[:NAMES_SHOWN])}: no registries yet; add one: regcred registry add "
        f"{names[0]}/REGISTRY"
    )


def no_such_registry(store: Store, reference: Reference) -> MissingError:
    """The error for a registry that does not exist. It suggests similar names."""
    try:
        names = store.registries(reference.project)
    except RegcredError:
        names = []
    return MissingError(f"there is no registry {reference}; {_hint(store, reference, names)}")


def _hint(store: Store, reference: Reference, names: list[str]) -> str:
    close = get_close_matches(reference.registry, names, n=2)
    if close:
        return f"did you mean {' or '.join(f'{reference.project}/{name}' for name in close)}?"
    if names:
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        return f"project {reference.project} has {', '.join(names[:NAMES_SHOWN])}{more}"
    try:
        check_project(store, reference.project)
    except MissingError as error:
        return str(error)
    return (
        f"project {reference.project} has no registries; 'regcred registry list' shows all that you may read"
    )


def projects(store: Store, named: Iterable[str], command: str = "") -> list[str]:
    """The projects for a command: the named ones, or else all.

    Args:
        store: The records in Vault.
        named: The projects that the user named.
        command: The command to suggest with one project; empty if it always reads all.

    Raises:
        RefusedError: none is named, and the token may not list projects.
    """
    if chosen := list(named):
        return chosen
    try:
        return [name for name in store.projects() if _is_valid(f"project {name}", name)]
    except RefusedError as error:
        remedy = (
            f"If you may read only some projects, name one: {command} PROJECT"
            if command
            else "This command needs a token that may list the projects: docs/alarms.md has a policy"
        )
        raise RefusedError(f"{error}. {remedy}") from None


def registries(store: Store, project: str) -> list[Reference]:
    """A project's registries. Invalid names in Vault are reported and left out."""
    return [
        Reference(project, name) for name in store.registries(project) if _is_valid(f"{project}/{name}", name)
    ]


def _is_valid(what: str, name: str) -> bool:
    """Whether a name in Vault is valid. If not, print a note."""
    try:
        check_label(name, field="its name")
    except MalformedError as error:
        say(f"note: {what} is left out: {error}")
        return False
    return True


def readable(read: Callable[[], Versioned[R] | None], what: str) -> Versioned[R] | None:
    """Read one item of a list. None if it no longer exists. If it is broken, print a note and return None."""
    try:
        return read()
    except MalformedError as error:
        say(f"note: {what} is left out: {error}")
        return None


@contextmanager
def replaceable(command: str) -> Iterator[None]:
    """Add the command that replaces a document to the error that it can't be read."""
    try:
        yield
    except MalformedError as error:
        raise MalformedError(f"{error}. Fix it, or replace it: {command}", field=error.field) from None


def history(store: Store, project: str) -> History:
    """A project's history; empty if there is none. If it can't be read, print a note."""
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
    """The statuses of a project by cluster, without those that can't be read.

    Args:
        store: The records in Vault.
        project: The project.
        clusters: The clusters that may read the project.
        on_error: Called with each cluster whose status can't be read, and the error.
    """
    found = {}
    for cluster in clusters:
        try:
            if status := store.status(cluster, project):
                found[cluster] = status.value
        except (RefusedError, MalformedError) as error:
            on_error(cluster, error)
    return found
