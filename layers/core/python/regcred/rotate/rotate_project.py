"""Rotates the registries of a message, and keeps the order of all reads and writes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from regcred import tracing
from regcred.errors import MalformedError, RegcredError
from regcred.registry.interface import Provider, Verifier
from regcred.registry_reference import Reference
from regcred.rotate.context import Bounds, Identities, Tools
from regcred.rotate.outcome import Announcer, Event, Outcome, Result, RotationReport, RotationResult
from regcred.rotate.registry_batch import Batch
from regcred.rotation_message import RotationMessage
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.history import Attempt, History
from regcred.vault.records.index import Index
from regcred.vault.store import Store, Versioned

log = logging.getLogger(__name__)

T = TypeVar("T")


STRAGGLING = timedelta(seconds=10)
"""Registries that take longer are recorded in a second index write. If one vendor hangs, the credentials of
the others must still reach the clusters."""


class Rotate:
    """Rotates the registries of messages. One instance serves many messages, also at the same time."""

    def __init__(
        self,
        *,
        store: Store,
        provider_for: Callable[[str], Provider[Any]],
        identities: Identities,
        verifier: Verifier,
        announcer: Announcer,
        now: Callable[[], datetime],
        workers: int = 16,
        per_vendor: int = 10,
        lease: timedelta = timedelta(minutes=2),
        straggling: timedelta = STRAGGLING,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Keep the dependencies. Makes no calls.

        Args:
            store: The mount.
            provider_for: Returns the provider of a name, or raises MalformedError.
            identities: The identities of the projects.
            verifier: Tries credentials at their registries.
            announcer: Sends events about the outcomes.
            now: Returns the current time with its time zone.
            workers: The maximum number of registries of a message that are rotated in parallel.
            per_vendor: The maximum for one vendor and host.
            lease: How long a claim is valid if its owner dies. It must be longer than a run may take.
            straggling: See :data:`STRAGGLING`.
            sleep: Waits for a number of seconds.
        """
        bounds = Bounds(per_vendor, now=now, sleep=sleep)
        self._tools = Tools(store, provider_for, identities, verifier, now, bounds, sleep)
        self._store = store
        self._announcer = announcer
        self._workers = workers
        self._lease = lease
        self._straggling = straggling

    def run(self, message: RotationMessage, *, owner: str, until: datetime | None = None) -> RotationReport:
        """Do what the message's registries need.

        Args:
            message: The project and its registries that may be due.
            owner: The owner of the claims: unique among concurrent runs, such as an invocation's ID.
            until: Start no further registry after this time.

        Returns:
            The outcome of each registry, and the errors of those that were not handled.

        Raises:
            RegcredError: Vault could not be used. Nothing was done, and the message must be delivered again.
        """
        store, project = self._store, message.project
        references = [Reference(project, name) for name in sorted(message.registries)]
        with ThreadPoolExecutor(max_workers=1 + min(self._workers, len(references))) as pool:
            rotations, errors = _gather({name: pool.submit(store.rotation, name) for name in references})
            index = store.index(project)
            policy = store.project(project)
            batch = Batch(
                self._tools,
                policy.value if policy else ProjectPolicy(),
                owner,
                self._lease,
                until,
                message.traceparent,
            )
            futures = {
                reference: pool.submit(
                    batch.handle,
                    reference,
                    rotation,
                    index.value if index else Index(),
                    message.registries[reference.registry],
                )
                for reference, rotation in rotations.items()
            }
            history = pool.submit(self._history, project)  # in parallel with the vendors
            report = RotationReport(errors=errors)
            soon = wait(futures.values(), timeout=self._straggling.total_seconds()).done
            for seen, part in (
                (index, {name: future for name, future in futures.items() if future in soon}),
                (None, {name: future for name, future in futures.items() if future not in soon}),
            ):
                results, errors = _gather(part)
                report.errors.extend(errors)
                try:
                    self._finish(pool, project, list(results.values()), seen, history)
                except RegcredError as error:
                    report.errors.append(error)
                else:
                    report.outcomes.extend(result.outcome for result in results.values())
        return report

    def _finish(
        self,
        pool: Executor,
        project: str,
        results: Sequence[Result],
        index: Versioned[Index] | None,
        history: Future[Versioned[History] | None],
    ) -> None:
        """Write the outcomes to the index. Then send events, answer requests and release claims."""
        known = self._record(project, results, index)
        announcing = pool.submit(self._announce, results)
        closing = [pool.submit(self._close, result) for result in results]
        self._remember(project, results, known, history)
        for done in (*closing, announcing):
            done.result()

    def _record(
        self, project: str, results: Sequence[Result], index: Versioned[Index] | None
    ) -> Index | None:
        updates = {result.outcome.reference.registry: result.entry for result in results if result.entry}
        if not updates:
            return None
        # One write is a step of many traces. It is recorded in the first.
        parent = next((result.traceparent for result in results if result.traceparent), "")
        with tracing.span("write index", parent, project=project):
            merged = self._store.merge_index(project, updates, seen=index)
        for result in results:
            if result.entry and result.outcome.reference.registry not in merged.registries:
                _mark_left_out(result)
        return merged

    def _history(self, project: str) -> Versioned[History] | None:
        """The history, or None if it can't be read now. The write then reads it again."""
        try:
            return self._store.history(project)
        except RegcredError:
            return None

    def _remember(
        self,
        project: str,
        results: Sequence[Result],
        index: Index | None,
        history: Future[Versioned[History] | None],
    ) -> None:
        """Add the outcomes to the project's history. Nothing depends on it, so a failure is only logged."""
        attempts = {
            result.outcome.reference.registry: _attempt(result.outcome, result.at, result.took)
            for result in results
            if result.at and result.outcome.done is not RotationResult.BUSY
        }
        if not attempts:
            return
        try:
            self._store.add_history(
                project, attempts, known=index.registries if index else None, seen=history.result()
            )
        except RegcredError as error:
            log.warning("project %s: the history was not written: %s", project, error)

    def _close(self, result: Result) -> None:
        """Answer the request, then release the claim. Do both only after the index has the outcome."""
        reference = result.outcome.reference
        if result.answered.revocation:
            self._store.remove_request(reference, result.answered.revocation, revocation=True)
        if result.answered.request:
            self._store.remove_request(reference, result.answered.request)
        if result.forget:
            self._store.remove_rotation(reference)
        elif result.claim:
            result.claim.release()

    def _announce(self, results: Sequence[Result]) -> None:
        """Send events.

        Another delivery of the message would not send them again, so a failure is only logged.
        """
        events = [
            Event(result.event, result.outcome.reference, result.entry)
            for result in results
            if result.event and result.entry
        ]
        if not events:
            return
        try:
            self._announcer.announce(events)
        except RegcredError as error:
            log.error(  # noqa: TRY400 - a typed error's one line says all
                "%d events were not sent: %s", len(events), error
            )


def _mark_left_out(result: Result) -> None:
    """Report a new registry as failing if the index has no room: no cluster could find its credential."""
    error = MalformedError(
        f"{result.outcome.reference}: the index of its project is full; remove registries, or move some to "
        "another project"
    )
    log.error("%s", error)
    result.event = None
    result.outcome = replace(
        result.outcome, done=RotationResult.FAILING, error=str(error), error_kind=error.kind, version=0
    )


def _attempt(outcome: Outcome, at: datetime, took: timedelta) -> Attempt:
    return Attempt(at, outcome.done, outcome.version, round(took.total_seconds() * 1000), outcome.error_kind)


def _gather(futures: Mapping[Reference, Future[T]]) -> tuple[dict[Reference, T], list[RegcredError]]:
    """The result of each registry, and the errors of the others."""
    results: dict[Reference, T] = {}
    errors: list[RegcredError] = []
    for reference, future in futures.items():
        try:
            results[reference] = future.result()
        except RegcredError as error:
            errors.append(error)
    return results, errors
