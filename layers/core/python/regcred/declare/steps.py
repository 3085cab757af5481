"""A plan as a value: the writes in their order, and what stands in the way. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from regcred.declare.kinds import ObjectKey, SecretFrom, Value


class Phase(IntEnum):
    """The order. A phase begins when all steps of the one before are done."""

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


@dataclass(frozen=True, slots=True)
class Step:
    """One write."""

    phase: Phase
    verb: StepKind
    key: ObjectKey
    to: Value | None = None
    """What shall be there then; None if nothing."""
    version: int = 0
    """The version that was seen, for check-and-set; 0 if there was none."""
    seen: Value | None = None
    """What was seen."""
    owner: str = ""
    """What is recorded as owner then."""
    changes: tuple[str, ...] = ()
    """What changes, for people."""
    secret: SecretFrom | None = None
    """Where the upstream secret to be written comes from; None if none is to be written."""
    removals: int = 0
    """How many things it takes away, for the brake."""

    def __str__(self) -> str:
        more = f" ({'; '.join(self.changes)})" if self.changes else ""
        return f"{self.verb} {self.key}{more}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why what is declared can't be had."""

    where: str
    """File and line; empty for what no file declares."""
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


@dataclass(frozen=True, slots=True)
class DeclarationPlan:
    """The steps in their order, and what stands in the way. With a problem nothing is applied."""

    steps: tuple[Step, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    """What is to be said, and stops nothing."""

    @property
    def removals(self) -> int:
        """How many things are taken away."""
        return sum(step.removals for step in self.steps)


@dataclass(frozen=True, slots=True)
class Terms:
    """How to compare."""

    owner: str = ""
    """The name of the files' source, recorded with what it declares; empty: nothing is recorded."""
    prune: bool = False
    """Whether to remove what this owner declared before and does not now."""
    take_over: bool = False
    """Whether to change what another owner declares."""
