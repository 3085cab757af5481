"""Selects the registries of a bulk command: by name, by project, by provider, or all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from regcred.cli import lookup
from regcred.cli.failures import BadInputError, user_input
from regcred.cli.output import say
from regcred.cli.session import CliSession
from regcred.errors import MissingError, RefusedError
from regcred.registry import catalog
from regcred.registry_reference import Reference

WORKERS = 8
"""The number of parallel calls to Vault."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The registries that the user named."""

    targets: Sequence[Reference | str]
    """References, and names of projects."""
    everything: bool = False
    provider: str = ""

    @property
    def single(self) -> Reference | None:
        """The reference, if the user named exactly one registry."""
        only = self.targets[0] if len(self.targets) == 1 else None
        return only if isinstance(only, Reference) and not self.provider and not self.everything else None

    def check(self, command: str) -> None:
        """Refuse an empty or contradictory selection."""
        if self.everything and self.targets:
            raise BadInputError("--all means all registries; leave out the names, or leave out --all")
        if not (self.targets or self.everything or self.provider):
            raise BadInputError(
                f"name a registry or a project: regcred {command} P/R, regcred {command} P; or use --all"
            )


def select(session: CliSession, selection: Selection, command: str) -> list[Reference]:
    """The registries of a selection, sorted.

    Raises:
        MissingError: a named registry does not exist, or a named project, the provider or all projects have
            no registries.
        RefusedError: the token may not list the projects, or the registries of a named project. Without
            names, such a project is left out.
    """
    store = session.store
    named = [target for target in selection.targets if isinstance(target, Reference)]
    for reference in named:
        lookup.check_exists(store, reference)
    found = set(named)
    projects = [target for target in selection.targets if isinstance(target, str)]
    if not selection.targets:
        projects = lookup.projects(store, [], f"regcred {command}")
    for project in projects:
        try:
            inside = lookup.registries(store, project)
        except RefusedError as error:
            if selection.targets:
                raise
            say(f"note: project {project} is left out: {error}")
            continue
        if not inside and selection.targets:
            lookup.check_project(store, project)
            raise MissingError(
                f"project {project} has no registries; 'regcred registry list' shows all that you may read"
            )
        found |= set(inside)
    if selection.provider:
        found = _of_provider(session, found, selection.provider)
        if not found:
            with user_input("--provider"):
                catalog.definition_model(selection.provider)  # raises an error for a misspelt name
            raise MissingError(f"none of these registries has the provider {selection.provider}")
    if not found:
        raise MissingError("there are no registries that you may read")
    return sorted(found)


def _of_provider(session: CliSession, references: Iterable[Reference], provider: str) -> set[Reference]:
    def matches(reference: Reference) -> bool:
        read = partial(session.store.definition, reference)
        try:
            found = lookup.readable(read, f"registry {reference}")
        except RefusedError as error:
            say(f"note: registry {reference} is left out: {error}")
            return False
        return found is not None and found.value.provider == provider

    wanted = sorted(references)
    with ThreadPoolExecutor(WORKERS) as pool:
        matching = zip(wanted, pool.map(matches, wanted), strict=True)
        return {reference for reference, is_match in matching if is_match}
