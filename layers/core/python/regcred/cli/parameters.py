"""Types of arguments and options that several commands use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from regcred.cli import completion
from regcred.cluster.model import Kind, custom_kind
from regcred.errors import MalformedError
from regcred.registry_reference import Reference, check_label

F = TypeVar("F", bound=Callable[..., Any])

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def all_of(*parameters: Callable[[F], F]) -> Callable[[F], F]:
    """Combine decorators of arguments and options into one. The help shows them in this order."""

    def add(command: F) -> F:
        for parameter in reversed(parameters):
            command = parameter(command)
        return command

    return add


class WholeNumber(click.IntRange):
    """A whole number. Errors and the help show the name."""

    name = "number"


class ReferenceType(click.ParamType[Reference]):
    """``<project>/<registry>``."""

    name = "P/R"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete a reference with names from Vault."""
        return [CompletionItem(name) for name in completion.references(ctx, param, incomplete)]

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        """Parse a reference."""
        if isinstance(value, Reference):
            return value
        try:
            return Reference.parse(str(value))
        except MalformedError as error:
            self.fail(str(error), param, ctx)


class TargetType(click.ParamType[Reference | str]):
    """A registry ``<project>/<registry>``, or all registries of a ``<project>``."""

    name = "P/R|P"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete a reference with names from Vault."""
        return REFERENCE.shell_complete(ctx, param, incomplete)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Reference | str:
        """Parse a reference, or the name of a project."""
        if isinstance(value, Reference) or "/" in str(value):
            return REFERENCE.convert(value, param, ctx)
        return PROJECT.convert(value, param, ctx)


class LabelType(click.ParamType[str]):
    """The name of a project or a cluster: a DNS label."""

    def __init__(self, name: str, complete: Complete | None = None) -> None:
        self.name = name
        self._complete = complete

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the name with names from Vault."""
        found = self._complete(ctx, param, incomplete) if self._complete else []
        return [CompletionItem(name) for name in found]

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check a name."""
        try:
            return check_label(str(value), field=self.name)
        except MalformedError as error:
            self.fail(str(error), param, ctx)


class WorkloadKindType(click.ParamType[Kind]):
    """``<group>/<version>/<plural>/<Kind>[:<template path>]``.

    An environment variable may contain several, separated by spaces or commas.
    """

    name = "KIND"

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Split the value of an environment variable, as sync does."""
        return rv.replace(",", " ").split()

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Kind:
        """Parse a kind."""
        if isinstance(value, Kind):
            return value
        try:
            return custom_kind(str(value))
        except MalformedError as error:
            self.fail(str(error), param, ctx)


REFERENCE = ReferenceType()
TARGET = TargetType()
PROJECT = LabelType("project", completion.projects)
CLUSTER = LabelType("cluster", completion.clusters)
NAMESPACE = LabelType("namespace")
WORKLOAD_KIND = WorkloadKindType()
