"""Handles the registries of one message: reads, claims and acts on each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from regcred import tracing
from regcred.errors import ConflictError, MalformedError
from regcred.registry import limits
from regcred.registry_reference import Reference
from regcred.rotate.context import RotationContext, Tools, outcome
from regcred.rotate.decide import Answered, RegistryDocuments, Task, decide
from regcred.rotate.mint import mint
from regcred.rotate.outcome import OutOfTimeError, Result, RotationResult
from regcred.rotate.registry_claim import HeldClaim
from regcred.rotate.revoke import remove, revoke
from regcred.rotate.verify_existing import repair, verify
from regcred.rotation_message import RotationReason
from regcred.vault.records.declared import Definition, ProjectPolicy
from regcred.vault.records.index import Index, IndexEntry, State
from regcred.vault.records.rotation import Rotation
from regcred.vault.store import Versioned

log = logging.getLogger(__name__)

T = TypeVar("T")

HANDLERS: dict[Task, Callable[[RotationContext], Result]] = {
    Task.MINT: mint,
    Task.VERIFY: verify,
    Task.REVOKE: revoke,
    Task.REMOVE: remove,
    Task.REPAIR: repair,
}


IN_FORCE = (RotationResult.ROTATED, RotationResult.REVOKED, RotationResult.REMOVED)
"""The outcomes that clusters act on, as a step of the same trace."""

RESERVE = timedelta(seconds=25)
"""The time that must be left to start a registry."""

VENDOR_TIME = timedelta(seconds=15)
"""How long vendors may be called after the last start. The rest of :data:`RESERVE` is for writing the
results."""

CLAIM_EVERY = 0.5
"""Seconds between two attempts of a revocation to take a claim that another run holds."""

CLAIM_PATIENCE = timedelta(seconds=30)
"""How long a revocation waits for a rotation of the same registry to end. Other work waits for the next
sweep."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The common data of one message's registries."""

    tools: Tools
    policy: ProjectPolicy
    owner: str
    lease: timedelta
    until: datetime | None
    """No registry is started after this time."""
    traceparent: str = ""
    """The step that sent the message."""

    def handle(
        self,
        reference: Reference,
        rotation: Versioned[Rotation],
        index: Index,
        reason: RotationReason,
    ) -> Result:
        """Do what one registry needs.

        Raises:
            RegcredError: Vault failed, or time has run out. A vendor's failure is a result.
        """
        now = self.tools.now()
        if self.until and now >= self.until:
            raise OutOfTimeError(f"{reference}: out of time; it will be retried")
        seen = self._read(reference, rotation, index, reason)
        task = decide(seen, reason, now=now)
        claim = self._claim(seen, now=now) if task is not Task.NOTHING else None
        while task is Task.REVOKE and claim is None and self._may_wait(since=now):
            self.tools.sleep(CLAIM_EVERY)
            seen = self._read_again(reference, reason)
            task = decide(seen, reason, now=self.tools.now())
            claim = self._claim(seen, now=self.tools.now()) if task is not Task.NOTHING else None
        if task is Task.NOTHING:
            gone = seen.definition is None  # its requests can no longer be fulfilled
            return Result(
                outcome(seen, RotationResult.DROPPED), answered=seen.answerable if gone else seen.broken
            )
        if claim is None:
            return Result(outcome(seen, RotationResult.BUSY))
        result = self._traced(task, RotationContext(self.tools, self.policy, seen, claim, self.until))
        if result.outcome.done is not RotationResult.TOO_SOON:
            result.entry = _with_request_time(seen, result.entry)
        result.claim = claim
        result.at = self.tools.now()
        result.took = result.at - now
        return result

    def _traced(self, task: Task, context: RotationContext) -> Result:
        """Carry out a task as a step of the trace of its request, or else of its message."""
        seen = context.seen
        requested = seen.wanted.traceparent if seen.wanted else ""
        same = not requested or tracing.same_trace(requested, self.traceparent)
        parent = self.traceparent if same else requested
        reference = seen.reference
        with tracing.span(
            "rotate", parent, project=reference.project, registry=reference.registry, task=task.value
        ) as span:
            with self._vendors_end():
                result = HANDLERS[task](context)
            done = result.outcome
            span.set(outcome=done.done.value, provider=done.provider, error_kind=done.error_kind)
            result.traceparent = span.traceparent
        if result.entry and result.traceparent and done.done in IN_FORCE:
            result.entry = result.entry.model_copy(update={"traceparent": result.traceparent})
        return result

    def _vendors_end(self) -> AbstractContextManager[object]:
        """Limit the total time of vendor calls in the block, so that time remains to write the results."""
        if self.until is None:
            return nullcontext()
        left = self.until + VENDOR_TIME - self.tools.now()
        return limits.one_call(max(0.0, left.total_seconds()))

    def _may_wait(self, *, since: datetime) -> bool:
        now = self.tools.now()
        return now - since < CLAIM_PATIENCE and not (self.until and now >= self.until)

    def _read_again(self, reference: Reference, reason: RotationReason) -> RegistryDocuments:
        """Read the claim before the index and the rest, as in the first read."""
        rotation = self.tools.store.rotation(reference)
        index = self.tools.store.index(reference.project)
        return self._read(reference, rotation, index.value if index else Index(), reason)

    def _read(
        self,
        reference: Reference,
        rotation: Versioned[Rotation],
        index: Index,
        reason: RotationReason,
    ) -> RegistryDocuments:
        store = self.tools.store
        definition = _or_malformed(lambda: store.definition(reference))
        # A request ends with its registry, and must not apply to a new registry of the same name.
        answerable = reason in (RotationReason.REQUESTED, RotationReason.REVOKE) or definition is None
        request = _or_malformed(lambda: store.request(reference)) if answerable else None
        revocation = _or_malformed(lambda: store.revocation(reference)) if answerable else None
        stored = _or_malformed(lambda: store.credential(reference))
        for found in (request, revocation, stored):
            if isinstance(found, MalformedError):
                log.warning("skipped: %s", found)
        usable = stored if isinstance(stored, Versioned) else None
        version = usable.version if usable else store.credential_version(reference)
        return RegistryDocuments(
            reference=reference,
            rotation=rotation,
            entry=index.registries.get(reference.registry),
            unreadable=reference.registry in index.marks,
            revoked=_was_revoked(index, reference, destroyed=stored is None and version > 0),
            definition=definition.value if isinstance(definition, Versioned) else definition,
            definition_version=self._definition_version(reference, definition),
            request=request if isinstance(request, Versioned) else None,
            revocation=revocation if isinstance(revocation, Versioned) else None,
            stored=usable,
            version=version,
            broken=Answered(
                store.request_version(reference) if isinstance(request, MalformedError) else 0,
                store.request_version(reference, revocation=True)
                if isinstance(revocation, MalformedError)
                else 0,
            ),
        )

    def _definition_version(
        self, reference: Reference, definition: Versioned[Definition] | MalformedError | None
    ) -> int:
        if isinstance(definition, Versioned):
            return definition.version
        return self.tools.store.definition_version(reference) if definition else 0

    def _claim(self, seen: RegistryDocuments, *, now: datetime) -> HeldClaim | None:
        """Take the claim, or return None if another run has it or was faster."""
        store = self.tools.store
        try:
            claimed = store.claim(seen.reference, seen.rotation, owner=self.owner, now=now, lease=self.lease)
        except ConflictError:
            return None
        return HeldClaim(store, seen.reference, claimed)


def _was_revoked(index: Index, reference: Reference, *, destroyed: bool) -> bool:
    """Whether an unreadable entry must have been that of a revoked credential.

    Only a revocation or a removal destroys a credential.
    """
    if reference.registry not in index.marks:
        return False
    state = index.marks[reference.registry]
    return state is State.REVOKED or (state is None and destroyed)


def _with_request_time(seen: RegistryDocuments, entry: IndexEntry | None) -> IndexEntry | None:
    """Add the time of the answered request to the entry, if a credential is in use.

    Sync then restores the Secrets of the registry. This also applies after a failure, because the last good
    credential stays.
    """
    in_force = entry is not None and entry.version > 0 and entry.state in (State.OK, State.FAILING)
    if entry is None or seen.wanted is None or not in_force:
        return entry
    return entry.model_copy(update={"requested_at": seen.wanted.requested_at})


def _or_malformed(read: Callable[[], T]) -> T | MalformedError:
    """Read a document, or return why it can't be parsed. One broken document must not stop a project."""
    try:
        return read()
    except MalformedError as error:
        return error
