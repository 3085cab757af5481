"""A sweep over all projects: reads each project, plans its messages and sends them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from regcred import tracing
from regcred.dispatch.planning import (
    REPORTED_MAX,
    Health,
    Limits,
    Observed,
    QueuedMessage,
    Sweep,
    definitions_to_read,
    envelopes,
    health,
    plan,
    valid_names,
)
from regcred.errors import MalformedError, RefusedError, RegcredError, TransientError
from regcred.registry_reference import Reference
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.index import Index
from regcred.vault.store import Store


class QueueError(TransientError):
    """The queue did not accept messages. Vault works, and the next sweep sends them again."""


class Queue(Protocol):
    """The queue between dispatch and rotate.

    It keeps the order within a group, delivers groups in parallel, and drops repeated IDs for some minutes.
    """

    def send(self, messages: Sequence[QueuedMessage]) -> None:
        """Send all messages. Called from several threads.

        Raises:
            TransientError: some or all were not accepted. The next sweep sends them again.
            RefusedError: the caller may not send.
        """


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep found and sent."""

    projects: int
    messages: int
    reasons: Mapping[RotationReason, int]
    health: Health
    unreadable: Mapping[str, RegcredError]
    """By project or reference, why it could not be read. Only that one was skipped."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """By project, the number of its registries that are over its limit and so not rotated."""


@dataclass(slots=True)
class _ProjectSweep:
    """What a sweep found and sent for one project."""

    messages: int = 0
    reasons: Counter[RotationReason] = field(default_factory=Counter)
    health: Health = field(default_factory=Health)
    unreadable: dict[str, RegcredError] = field(default_factory=dict)
    left_out: int = 0
    unsent: RegcredError | None = None


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Runs sweeps over the interfaces."""

    store: Store
    queue: Queue
    limits: Limits = field(default_factory=Limits)
    workers: int = 8
    """The number of projects that are read in parallel."""

    def run(self, sweep: Sweep, *, only: str | None = None) -> SweepReport:
        """Read all projects, or one for a nudge, and send messages for what is due.

        Args:
            sweep: The run.
            only: The one project to read, with all its definitions. A nudge needs no permission, because
                only Vault's documents decide what is done.

        Raises:
            QueueError: the queue did not accept messages. Those of other projects were sent.
            RegcredError: the projects could not be listed, or the function may not send.
        """
        projects = [only] if only else self.store.projects()
        with ThreadPoolExecutor(max_workers=max(1, min(self.workers, len(projects)))) as pool:
            futures = {name: pool.submit(self._handle, name, sweep, nudged=bool(only)) for name in projects}
            parts = {name: future.result() for name, future in futures.items()}
        for part in parts.values():
            if part.unsent:
                raise part.unsent
        return SweepReport(
            projects=len(projects),
            messages=sum(part.messages for part in parts.values()),
            reasons=sum((part.reasons for part in parts.values()), Counter()),
            health=sum((part.health for part in parts.values()), Health()),
            unreadable={name: error for part in parts.values() for name, error in part.unreadable.items()},
            left_out={name: part.left_out for name, part in parts.items() if part.left_out},
        )

    def _handle(self, project: str, sweep: Sweep, *, nudged: bool) -> _ProjectSweep:
        """Handle one project. Its errors are part of the result, and stop no other project."""
        part = _ProjectSweep()
        try:
            self._read_and_send(project, sweep, part, nudged=nudged)
        except _UnsentError as error:
            part.unsent = error.cause
        except RegcredError as error:
            part.unreadable[project] = error
        return part

    def _read_and_send(self, project: str, sweep: Sweep, part: _ProjectSweep, *, nudged: bool) -> None:
        """Send revocations, then what the lists and the index show as due, then edited definitions."""
        requested, revoked = self.store.pending_requests(project)
        revocations, bad = valid_names(project, revoked)
        bad |= valid_names(project, requested)[1]
        part.unreadable |= {f"requests/{name}": error for name, error in bad.items()}
        self._send(project, dict.fromkeys(revocations, RotationReason.REVOKE), sweep, part)
        observed = self._observe(project, requested, part)
        part.health = health(observed.index.registries.values(), now=sweep.at)
        part.left_out = observed.left_out
        part.unreadable |= observed.unreadable
        urgent = set(revocations)
        wanted = {name: reason for name, reason in plan(observed, sweep).items() if name not in urgent}
        self._send(project, wanted, sweep, part)
        versions = {
            name: self.store.definition_version(Reference(project, name))
            for name in definitions_to_read(observed, sweep, nudged=nudged)
        }
        changed = plan(replace(observed, definitions=versions), sweep)
        later = {name: reason for name, reason in changed.items() if reason is RotationReason.EDITED}
        self._send(
            project, {name: reason for name, reason in later.items() if name not in urgent}, sweep, part
        )

    def _observe(self, project: str, requested: Sequence[str], part: _ProjectSweep) -> Observed:
        """Read one project.

        The index is read before the list, so that a registry just added does not count as removed.
        """
        found = self.store.index(project)
        for name, problem in list(found.value.skipped.items())[:REPORTED_MAX] if found else ():
            part.unreadable[f"{project}/_index/{name}"] = MalformedError(problem)
        names = self.store.registries(project)
        return Observed.of(
            project,
            names=names,
            requests=requested,
            index=found.value if found else Index(),
            limit=self._policy(project, part).max_registries,
        )

    def _policy(self, project: str, part: _ProjectSweep) -> ProjectPolicy:
        """The project's policy, or the defaults if the document is missing or broken."""
        try:
            found = self.store.project(project)
        except (MalformedError, RefusedError) as error:
            part.unreadable[f"platform/projects/{project}"] = error
            found = None
        return found.value if found else ProjectPolicy()

    def _send(
        self, project: str, wanted: Mapping[str, RotationReason], sweep: Sweep, part: _ProjectSweep
    ) -> None:
        sealed = list(envelopes(project, wanted, sweep, self.limits))
        if not sealed:
            return
        try:
            self._send_traced(project, sealed)
        except TransientError as error:
            raise _UnsentError(QueueError(str(error), retry_after=error.retry_after)) from None
        except RegcredError as error:
            raise _UnsentError(error) from None
        part.messages += len(sealed)
        part.reasons.update(reason for envelope in sealed for reason in envelope.message.registries.values())

    def _send_traced(self, project: str, sealed: Sequence[QueuedMessage]) -> None:
        """Send messages, each as a step of the trace of its first request, or of a trace of its own."""
        if not tracing.is_on():
            self.queue.send(sealed)
            return
        with ExitStack() as steps:
            self.queue.send(
                [
                    envelope.traced(
                        steps.enter_context(
                            tracing.span(
                                "dispatch",
                                self._trace_of(envelope.message),
                                project=project,
                                reason=next(iter(envelope.message.registries.values())).value,
                            )
                        ).traceparent
                    )
                    for envelope in sealed
                ]
            )

    def _trace_of(self, message: RotationMessage) -> str:
        """The traceparent of the first request in a message; empty if there is none."""
        for name, reason in message.registries.items():
            if read := {
                RotationReason.REQUESTED: self.store.request,
                RotationReason.REVOKE: self.store.revocation,
            }.get(reason):
                with suppress(RegcredError):  # rotate reports it
                    found = read(Reference(message.project, name))
                    return found.value.traceparent if found else ""
        return ""


class _UnsentError(Exception):
    """Carries the reason why the queue did not accept messages, to distinguish it from Vault's errors."""

    def __init__(self, cause: RegcredError) -> None:
        super().__init__(str(cause))
        self.cause = cause
