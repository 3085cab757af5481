"""The verb over its interfaces: the order in which a message's documents are read and written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

from regcred.errors import RegcredError
from regcred.reference import Reference
from regcred.registry.interface import Provider, Verifier
from regcred.rotate.batch import Batch
from regcred.rotate.outcome import Announcer, Event, Outcome, Result
from regcred.rotate.turn import Bounds, Identities, Tools
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.index import Index
from regcred.vault.store import Store, Versioned
from regcred.work import Message

log = logging.getLogger(__name__)

T = TypeVar("T")


class Rotate:
    """Rotates what messages name. One instance serves many messages, also side by side."""

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
    ) -> None:
        """Make it; calls nobody yet.

        Args:
            store: The mount.
            provider_for: The provider of a name; raises MalformedError if there is none.
            identities: The projects' own identities.
            verifier: Tries credentials at their registries.
            announcer: Who is told of outcomes.
            now: The time, aware.
            workers: Registries of a message that are rotated side by side.
            per_vendor: Of these, those of one vendor and host.
            lease: How long a claim holds if its owner dies; longer than a run may take.
        """
        self._tools = Tools(store, provider_for, identities, verifier, now, Bounds(per_vendor))
        self._store = store
        self._announcer = announcer
        self._workers = workers
        self._lease = lease

    def run(self, message: Message, *, owner: str, until: datetime | None = None) -> list[Outcome]:
        """Do what the message's registries need.

        Args:
            message: Whose turn it may be.
            owner: Who claims, unlike anybody else who runs now (an invocation's id).
            until: Start no further registry after this.

        Returns:
            What became of each registry; a vendor's failure is an outcome, recorded in the index.

        Raises:
            RegcredError: Vault could not be used, or time ran out; what was done is recorded, and the message
                is to be delivered again for the rest.
        """
        store, project = self._store, message.project
        references = [Reference(project, name) for name in sorted(message.registries)]
        with ThreadPoolExecutor(max_workers=min(self._workers, len(references))) as pool:
            rotations, broken = _gather({name: pool.submit(store.rotation, name) for name in references})
            index = store.index(project)
            policy = store.project(project)
            batch = Batch(self._tools, policy.value if policy else ProjectPolicy(), owner, self._lease, until)
            entries = index.value.registries if index else {}
            done, failed = _gather(
                {
                    reference: pool.submit(
                        batch.handle,
                        reference,
                        rotation,
                        entries.get(reference.registry),
                        message.registries[reference.registry],
                    )
                    for reference, rotation in rotations.items()
                }
            )
            results = list(done.values())
            self._record(project, results, index)
            announcing = pool.submit(self._announce, results)
            list(pool.map(self._settle, results))
            announcing.result()
        for error in (*broken, *failed):
            raise error
        return [result.outcome for result in results]

    def _record(self, project: str, results: Sequence[Result], index: Versioned[Index] | None) -> None:
        updates = {result.outcome.reference.registry: result.entry for result in results if result.entry}
        if updates:
            self._store.merge_index(project, updates, seen=index)

    def _settle(self, result: Result) -> None:
        """Answer the request, then release the claim: both only once the index tells of the outcome."""
        reference = result.outcome.reference
        if result.answered:
            self._store.answered(reference, result.answered)
        if result.forget:
            self._store.remove_rotation(reference)
        elif result.held:
            result.held.release()

    def _announce(self, results: Sequence[Result]) -> None:
        """Emit events. Delivering the message again would not emit them again, so a failure is only logged."""
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
                "%d events were not announced: %s", len(events), error
            )


def _gather(futures: Mapping[Reference, Future[T]]) -> tuple[dict[Reference, T], list[RegcredError]]:
    """What was found or done for each registry, and the errors of the others."""
    results: dict[Reference, T] = {}
    errors: list[RegcredError] = []
    for reference, future in futures.items():
        try:
            results[reference] = future.result()
        except RegcredError as error:
            errors.append(error)
    return results, errors
