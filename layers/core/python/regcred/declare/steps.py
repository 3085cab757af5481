"""A plan as a value: the steps in order, and the problems. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from regcred.declare.kinds import ObjectKey, SecretFrom, Value
from regcred.errors import ConflictError


class Phase(IntEnum):
    """The order of steps. A phase begins when all steps of the previous phase are done.

    "Narrow" removes access, and "widen" gives access.
    """

    GRANTS_NARROW = 1
    PROJECTS_NARROW = 2
    REGISTRIES_REMOVE = 3
    PROJECTS_REMOVE = 4
    CLUSTERS_REMOVE = 5
    PLATFORM_WRITE = 6
    CLUSTERS_WRITE = 7
    PROJECTS_WIDEN = 8
    REGISTRIES_WRITE = 9
    GRANTS_WIDEN = 10


class StepKind(StrEnum):
    """What a step does."""

    CREATE = "create"
    CHANGE = "change"
    NARROW = "narrow"
    ADOPT = "adopt"
    REMOVE = "remove"
    REPAIR = "repair"
    """Update Vault's groups, because an earlier run stopped after it wrote a project's document."""


@dataclass(frozen=True, slots=True)
class Step:
    """One write."""

    phase: Phase
    verb: StepKind
    key: ObjectKey
    to: Value | None = None
    """The content after the step; None if it removes the object."""
    version: int = 0
    """The version for check-and-set, or 0 for a new document."""
    seen: Value | None = None
    """The content before the step."""
    owner: str = ""
    """The owner to record."""
    changes: tuple[str, ...] = ()
    """The changes as texts for people."""
    secret: SecretFrom | None = None
    """The source of the upstream secret to write; None if there is none to write."""
    removals: int = 0
    """How many removals the step counts as, for the limit on removals."""

    def __str__(self) -> str:
        more = f" ({'; '.join(self.changes)})" if self.changes else ""
        return f"{self.verb} {self.key}{more}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a declared object can't be applied."""

    where: str
    """File and line; empty if no file declares it."""
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


@dataclass(frozen=True, slots=True)
class DeclarationPlan:
    """The steps in order, and the problems. With a problem, nothing is applied."""

    steps: tuple[Step, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    """Notes that do not stop the plan."""

    @property
    def removals(self) -> int:
        """The number of removals in all steps."""
        return sum(step.removals for step in self.steps)


@dataclass(frozen=True, slots=True)
class Terms:
    """The rules for a comparison."""

    owner: str = ""
    """The name of the files' source. It is recorded with each object; if it is empty, nothing is recorded."""
    prune: bool = False
    """Whether to remove objects that this owner declared before, but no longer does."""
    take_over: bool = False
    """Whether to change objects of another owner."""


def changed_meanwhile(step: Step) -> ConflictError:
    """The error of a step whose object somebody changed after the plan was made."""
    return ConflictError(f"{step.key}: somebody changed it after the comparison; run the command again")
