"""Carries out a plan, phase by phase.

After an interrupted run, a new plan contains only what is left, because it starts from the state of Vault.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from pydantic import SecretStr

from regcred.declare.earlier_outcomes import EarlierOutcomes
from regcred.declare.grants_writer import write_grants
from regcred.declare.kinds import DeclaredKind, ObjectKey
from regcred.declare.live_objects import WORKERS
from regcred.declare.live_platform import Operator
from regcred.declare.steps import DeclarationPlan, Phase, Step, StepKind, changed_meanwhile
from regcred.errors import (
    ConflictError,
    RefusedError,
    RegcredError,
    TransientError,
)
from regcred.registry.definition import BaseDefinition
from regcred.registry.secret_destination import destination_text
from regcred.vault.platform.declaration import ClusterTrust
from regcred.vault.platform.project_setup import ProjectSetup
from regcred.vault.records.declared import Action, Definition, ProjectPolicy
from regcred.vault.store import Store

Secrets = Mapping[ObjectKey, Mapping[str, SecretStr]]

PART = 16
"""The maximum number of batches that one thread takes at once."""

_GRANTS = frozenset({Phase.GRANTS_NARROW, Phase.GRANTS_WIDEN})
_OPERATORS = frozenset({Phase.CLUSTERS_REMOVE, Phase.PLATFORM_WRITE, Phase.CLUSTERS_WRITE})


@dataclass(slots=True)
class AppliedPlan:
    """The results of a plan."""

    steps: list[Step] = field(default_factory=list)
    """The steps that are done."""
    failed: list[tuple[Step, RegcredError]] = field(default_factory=list)
    not_begun: int = 0
    """The number of steps that were not tried, because an earlier step failed."""
    not_set_up: set[str] = field(default_factory=set)
    """Projects whose policies and groups the token may not change."""

    def add(self, finished: _FinishedBatch) -> Sequence[Step]:
        """Add the result of a batch. Return its steps if they are done."""
        if finished.error:
            self.failed += [(step, finished.error) for step in finished.batch]
            return ()
        if not finished.begun:
            self.not_begun += len(finished.batch)
            return ()
        self.steps += finished.batch
        return finished.batch


@dataclass(frozen=True, slots=True)
class _FinishedBatch:
    """The result of steps that belong together."""

    batch: Sequence[Step]
    begun: bool = True
    error: RegcredError | None = None


class PlanApplier:
    """Carries out a plan.

    Args:
        store: The records.
        secrets: The upstream secret of each registry whose step needs one.
        now: The clock, for requests.
        operator: The platform, for steps of the platform and of clusters, and for the groups of projects;
            None if the plan has no such steps, and the groups must stay as they are.
        on_step: Called with each step that is done, from one thread.
    """

    def __init__(
        self,
        store: Store,
        *,
        secrets: Secrets,
        now: Callable[[], datetime],
        operator: Operator | None = None,
        on_step: Callable[[Step], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._now = now
        self._operator = operator
        self._on_step = on_step
        self._versions: dict[ObjectKey, int] = {}
        self._stop = threading.Event()
        self._setup: ProjectSetup | None = None
        self._outcomes = EarlierOutcomes(store)

    def run(self, plan: DeclarationPlan) -> AppliedPlan:
        """Carry out the steps.

        If a step fails, no later phase begins. So nothing gets more access before everything has lost the
        access that it should lose.
        """
        done = AppliedPlan()
        for phase, steps in groupby(plan.steps, key=lambda step: step.phase):
            found = list(steps)
            if done.failed:
                done.not_begun += len(found)
                continue
            self._phase(phase, found, done)
            # Do this even if another cluster failed, because nothing else is left to do for these clusters.
            # If seen is None, the cluster is new, or an earlier run stopped before its sign-in was complete.
            new = [step.key.name for step in done.steps if step.phase is phase and step.seen is None]
            if phase is Phase.CLUSTERS_WRITE and self._operator and new:
                self._operator.join(sorted(new))
        return done

    def _phase(self, phase: Phase, steps: Sequence[Step], done: AppliedPlan) -> None:
        projects = sum(map(_changes_clusters, steps))
        self._setup = self._operator.project_setup(projects) if self._operator and projects else None
        with ThreadPoolExecutor(WORKERS) as pool:
            parts = _parts(_batches(phase, steps))
            futures = [pool.submit(self._part, phase, part, done) for part in parts]
            try:
                for future in as_completed(futures):
                    for batch in future.result():
                        for step in done.add(batch):
                            self._on_step(step)
            except BaseException:  # Ctrl-C: finish the running steps, and start no other
                self._stop.set()
                raise
        if self._setup:
            _finish_setup(self._setup, steps, done)

    def _part(
        self, phase: Phase, batches: Sequence[Sequence[Step]], done: AppliedPlan
    ) -> list[_FinishedBatch]:
        finished = []
        for batch in batches:
            try:
                finished.append(_FinishedBatch(batch, begun=self._batch(phase, batch, done)))
            except RegcredError as error:
                finished.append(_FinishedBatch(batch, error=error))
                if isinstance(error, TransientError):
                    self._stop.set()  # Vault can't be reached, so the other steps would fail too
        return finished

    def _batch(self, phase: Phase, steps: Sequence[Step], done: AppliedPlan) -> bool:
        """Carry out steps that belong together. Return False if an earlier failure stopped the phase."""
        if self._stop.is_set():
            return False
        if phase in _GRANTS:
            write_grants(self._store, steps)
        elif phase in _OPERATORS:
            if steps[0].verb is not StepKind.REPAIR:  # run() adds the cluster to the groups
                self._operate(steps[0])
        elif phase is Phase.REGISTRIES_REMOVE:
            self._remove_registry(steps[0])
        elif phase is Phase.REGISTRIES_WRITE:
            self._write_registry(steps[0])
        elif steps[0].verb is StepKind.REMOVE:
            # If a run stops between the two, the next one still finds the project, and removes it.
            self._update_groups(steps[0].key.name, (), done)
            self._project(steps[0])
        else:
            if steps[0].verb is not StepKind.REPAIR:
                self._project(steps[0])
            if _changes_clusters(steps[0]):
                self._update_groups(steps[0].key.name, None, done)
        return True

    def _update_groups(self, project: str, clusters: Iterable[str] | None, done: AppliedPlan) -> None:
        try:
            if self._setup:
                self._setup.ensure(project, clusters)
        except RefusedError:
            done.not_set_up.add(project)

    def _operate(self, step: Step) -> None:
        """Set up the platform, or set up or remove a cluster.

        This compares again, because earlier steps may have changed Vault.
        """
        if self._operator is None:
            raise TypeError(step.key)
        if step.key.kind is DeclaredKind.PLATFORM:
            self._operator.write_platform()
        elif isinstance(step.to, ClusterTrust):
            self._operator.write_cluster(step.key.name, step.to, step.owner)
        else:
            self._operator.remove_cluster(step.key.name)

    def _project(self, step: Step) -> None:
        name = step.key.name
        if not isinstance(step.to, ProjectPolicy):
            if self._store.project_version(name) != step.version:
                raise changed_meanwhile(step)
            self._store.remove_project(name)
            return
        policy, is_new = step.to, step.verb is StepKind.CREATE and step.key not in self._versions

        def version() -> int:
            if not is_new:
                return self._versions.get(step.key, step.version)
            found = self._store.project_version(name)
            if self._store.project(name) is not None:
                raise changed_meanwhile(step)
            return found

        self._versions[step.key] = _write_seen(
            lambda cas: self._store.write_project(name, policy, cas=cas, owner=step.owner),
            version,
            is_new=is_new,
        )

    def _remove_registry(self, step: Step) -> None:
        # KV v2 has no conditional delete. If somebody writes between these two calls, that write is lost.
        if self._store.definition_version(step.key.reference) != step.version:
            raise changed_meanwhile(step)
        self._store.remove_definition(step.key.reference)

    def _write_registry(self, step: Step) -> None:
        """Write the upstream secret, then the definition, which would fail at once without its secret."""
        reference, definition = step.key.reference, step.to
        if not isinstance(definition, BaseDefinition):
            raise TypeError(step.key)
        is_new = step.verb is StepKind.CREATE
        if step.secret:
            fields, bound_to = self._secrets[step.key], destination_text(definition)
            _write_seen(
                lambda cas: self._store.write_upstream(reference, fields, bound_to=bound_to, cas=cas),
                lambda: self._store.upstream_version(reference),
                is_new=is_new,
            )
        record = Definition.model_validate(definition.content())
        renews = step.verb is not StepKind.ADOPT and definition.needs_credential()
        asks = renews and (not is_new or self._outcomes.may_exist(reference))

        def version() -> int:
            if is_new and self._store.definition(reference) is not None:
                raise changed_meanwhile(step)
            return self._store.definition_version(reference) if is_new else step.version

        _write_seen(
            lambda cas: self._store.write_definition(reference, record, cas=cas, owner=step.owner),
            version,
            is_new=is_new,
        )
        if asks:
            self._store.create_request(reference, Action.ROTATE, self._now())


def _finish_setup(setup: ProjectSetup, steps: Sequence[Step], done: AppliedPlan) -> None:
    for project, error in setup.finish().items():
        if isinstance(error, RefusedError):
            done.not_set_up.add(project)
        else:
            done.failed += [(step, error) for step in steps if step.key.name == project]


def _write_seen(write: Callable[[int], int], version: Callable[[], int], *, is_new: bool) -> int:
    """Write a document with check-and-set. Return its new version.

    A new document normally has version 0. Only after a conflict, read the version: a deleted document may
    have left a number.
    """
    if is_new:
        with suppress(ConflictError):
            return write(0)
    return write(version())


def _changes_clusters(step: Step) -> bool:
    """Whether a step changes the clusters of a project, so that Vault's groups must be updated."""
    if step.key.kind is not DeclaredKind.PROJECT or step.verb is StepKind.ADOPT:
        return False
    if step.verb is StepKind.REPAIR:
        return True
    if not isinstance(step.to, ProjectPolicy) or not isinstance(step.seen, ProjectPolicy):
        return True
    return step.to.clusters != step.seen.clusters


def _parts(batches: Sequence[Sequence[Step]]) -> list[Sequence[Sequence[Step]]]:
    """Divide the work of a phase. For thousands of steps, a task for each would cost more than the step."""
    size = max(1, min(PART, len(batches) // (WORKERS * 4)))
    return [batches[start : start + size] for start in range(0, len(batches), size)]


def _batches(phase: Phase, steps: Sequence[Step]) -> list[list[Step]]:
    if phase not in _GRANTS:
        return [[step] for step in steps]
    return [list(batch) for _, batch in groupby(steps, key=lambda step: step.key.scope)]
