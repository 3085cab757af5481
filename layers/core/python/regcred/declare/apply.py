"""Carries out a plan, phase by phase.

After an interrupted run, a new plan contains only what is left, because it starts from the state of Vault.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from pydantic import SecretStr

from regcred.declare.kinds import DeclaredKind, Grant, ObjectKey
from regcred.declare.live_objects import WORKERS, owners_of
from regcred.declare.live_platform import Operator
from regcred.declare.namespace_sets import common_grant
from regcred.declare.steps import DeclarationPlan, Phase, Step, StepKind
from regcred.errors import (
    ConflictError,
    MalformedError,
    RefusedError,
    RegcredError,
    TransientError,
)
from regcred.registry.definition import BaseDefinition
from regcred.registry.secret_destination import destination_text
from regcred.registry_reference import Reference
from regcred.vault.platform.declaration import ClusterTrust
from regcred.vault.records.declared import Action, ClusterGrants, Definition, ProjectPolicy
from regcred.vault.store import Store
from regcred.vault.store.base import CAS_ATTEMPTS

Secrets = Mapping[ObjectKey, Mapping[str, SecretStr]]

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


class _EarlierOutcomes:
    """Says which new registries need a request.

    Dispatch finds a new registry by itself unless the index has an entry of an earlier one with its name. So
    a request for each would double the writes for nothing. Reads each index once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reading = threading.Lock()
        self._known: dict[str, frozenset[str] | None] = {}

    def may_exist(self, reference: Reference) -> bool:
        """Whether the index has an entry of this name, or can't be read."""
        project = reference.project
        with self._reading:
            if project not in self._known:
                self._known[project] = self._read(project)
        known = self._known[project]
        return known is None or reference.registry in known

    def _read(self, project: str) -> frozenset[str] | None:
        try:
            found = self._store.index(project)
        except (RefusedError, MalformedError):
            return None
        return frozenset((*found.value.registries, *found.value.marks)) if found else frozenset()


class PlanApplier:
    """Carries out a plan.

    Args:
        store: The records.
        secrets: The upstream secret of each registry whose step needs one.
        now: The clock, for requests.
        operator: The platform, for steps of the platform and of clusters; None if the plan has none.
        ensure: Called with a project whose clusters have changed, to update Vault's groups, and with its
            clusters; None for those in its document. It is called from several threads.
        on_step: Called with each step that is done, from one thread.
    """

    def __init__(
        self,
        store: Store,
        *,
        secrets: Secrets,
        now: Callable[[], datetime],
        operator: Operator | None = None,
        ensure: Callable[[str, Collection[str] | None], None] = lambda _project, _clusters: None,
        on_step: Callable[[Step], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._now = now
        self._operator = operator
        self._ensure = ensure
        self._on_step = on_step
        self._versions: dict[ObjectKey, int] = {}
        self._stop = threading.Event()
        self._outcomes = _EarlierOutcomes(store)

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
            # Also if another cluster failed: the next run finds nothing to do for these clusters. A cluster
            # whose sign-in was incomplete (seen is None) may be from an earlier run that failed.
            new = [step.key.name for step in done.steps if step.phase is phase and step.seen is None]
            if phase is Phase.CLUSTERS_WRITE and self._operator and new:
                self._operator.join(sorted(new))
        return done

    def _phase(self, phase: Phase, steps: Sequence[Step], done: AppliedPlan) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            futures = {pool.submit(self._batch, phase, batch): batch for batch in _batches(phase, steps)}
            try:
                for future in as_completed(futures):
                    self._finish(future, futures[future], done)
            except BaseException:  # Ctrl-C: finish the running steps, and start no other
                self._stop.set()
                raise

    def _finish(self, future: Future[bool], batch: Sequence[Step], done: AppliedPlan) -> None:
        try:
            if not future.result():
                done.not_begun += len(batch)
                return
            for step in batch:
                self._on_step(step)
        except RegcredError as error:
            done.failed += [(step, error) for step in batch]
            if isinstance(error, TransientError):
                self._stop.set()  # Vault can't be reached, so the other steps would fail too
            return
        done.steps += batch

    def _batch(self, phase: Phase, steps: Sequence[Step]) -> bool:
        if self._stop.is_set():
            return False
        if phase in _GRANTS:
            self._grants(steps)
        elif phase in _OPERATORS:
            self._operate(steps[0])
        elif phase is Phase.REGISTRIES_REMOVE:
            self._remove_registry(steps[0])
        elif phase is Phase.REGISTRIES_WRITE:
            self._write_registry(steps[0])
        elif steps[0].verb is StepKind.REMOVE:
            # If a run stops between the two, the next one still finds the project, and removes it.
            self._ensure(steps[0].key.name, ())
            self._project(steps[0])
        else:
            if steps[0].verb is not StepKind.REPAIR:
                self._project(steps[0])
            if _changes_clusters(steps[0]):
                self._ensure(steps[0].key.name, None)
        return True

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
                raise _changed(step)
            self._store.remove_project(name)
            return
        policy, is_new = step.to, step.verb is StepKind.CREATE and step.key not in self._versions

        def version() -> int:
            if not is_new:
                return self._versions.get(step.key, step.version)
            found = self._store.project_version(name)
            if self._store.project(name) is not None:
                raise _changed(step)
            return found

        self._versions[step.key] = _write_seen(
            lambda cas: self._store.write_project(name, policy, cas=cas, owner=step.owner),
            version,
            is_new=is_new,
        )

    def _remove_registry(self, step: Step) -> None:
        # KV v2 has no conditional delete. If somebody writes between these two calls, that write is lost.
        if self._store.definition_version(step.key.reference) != step.version:
            raise _changed(step)
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
                raise _changed(step)
            return self._store.definition_version(reference) if is_new else step.version

        _write_seen(
            lambda cas: self._store.write_definition(reference, record, cas=cas, owner=step.owner),
            version,
            is_new=is_new,
        )
        if asks:
            self._store.ask(reference, Action.ROTATE, self._now())

    def _grants(self, steps: Sequence[Step]) -> None:
        """Write all steps of one cluster with one write. Keep the changes by others."""
        cluster = steps[0].key.scope
        for _ in range(CAS_ATTEMPTS):
            found = self._store.cluster(cluster)
            old = found.value if found else ClusterGrants()
            owners = owners_of(found) if found else {}
            version = found.version if found else self._store.cluster_version(cluster)
            for step in steps:
                _check_seen(step, old)
            new, owners = _with(old, owners, steps)
            record = json.dumps(owners, sort_keys=True, separators=(",", ":")) if owners else ""
            try:
                self._store.write_cluster(cluster, new, cas=version, owner=record)
            except ConflictError:
                continue
            return
        raise ConflictError(
            f"grants of cluster {cluster}: somebody else wrote them during each of {CAS_ATTEMPTS} attempts; "
            "run the command again"
        )


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


def _check_seen(step: Step, grants: ClusterGrants) -> None:
    seen = step.seen if isinstance(step.seen, Grant) else None
    to = step.to if isinstance(step.to, Grant) else None
    narrowed = common_grant(seen, to) if seen and to else None
    now = _names(Grant.of(grants, step.key.name))
    if now not in (_names(seen), _names(narrowed)):  # an earlier step of the same plan may have narrowed it
        raise _changed(step)


def _names(grant: Grant | None) -> tuple[list[str], list[str]]:
    return (grant.namespaces, grant.delegated) if grant else ([], [])


def _with(
    old: ClusterGrants, owners: Mapping[str, str], steps: Iterable[Step]
) -> tuple[ClusterGrants, dict[str, str]]:
    grants, delegated = dict(old.grants), dict(old.delegated)
    owned, globs = dict(owners), old.globs
    for step in steps:
        project = step.key.name
        grants.pop(project, None)
        delegated.pop(project, None)
        if isinstance(step.to, Grant):
            globs = globs or step.to.globs
            if step.to.namespaces:
                grants[project] = list(step.to.namespaces)
            if step.to.delegated:
                delegated[project] = list(step.to.delegated)
        if step.verb is StepKind.REMOVE or not step.owner:
            owned.pop(project, None)
        else:
            owned[project] = step.owner
    return old.model_copy(update={"grants": grants, "globs": globs, "delegated": delegated}), owned


def _batches(phase: Phase, steps: Sequence[Step]) -> list[list[Step]]:
    if phase not in _GRANTS:
        return [[step] for step in steps]
    return [list(batch) for _, batch in groupby(steps, key=lambda step: step.key.scope)]


def _changed(step: Step) -> ConflictError:
    return ConflictError(f"{step.key}: somebody changed it after the comparison; run the command again")
