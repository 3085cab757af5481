"""The verb rotate: mint, verify, write, index, announce; one message (registries of one project) at a time.

Order is what makes it safe to run twice and to crash anywhere:

1. The claims are read, *then* the index, then all the rest. A claim is taken by check-and-set on the version read,
   so whoever acted in between makes the claim fail.
2. The credential is written before the index. A crash between leaves a credential newer than its entry; the next
   run finds it and only repairs the index.
3. Requests are answered and claims released after the index is written.

**Keep last good**: no failure overwrites or removes a credential; only a revoke or a removed definition does.
"""

from __future__ import annotations

import json
import logging
import secrets
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from threading import BoundedSemaphore, Lock
from typing import Any, Protocol, TypeVar

from pydantic import SecretStr

from regcred.credential import Credential, Login, Verified, jitter
from regcred.errors import (
    ConflictError,
    MalformedError,
    MissingError,
    RefusedError,
    RegcredError,
    TransientError,
)
from regcred.reference import Reference
from regcred.registry.definition import BaseDefinition, check_allowed, parse
from regcred.registry.interface import (
    Identity,
    Journal,
    MintContext,
    Provider,
    Revoked,
    SlotName,
    Slots,
    Verdict,
    Verification,
    Verifier,
)
from regcred.vault import records
from regcred.vault.records import (
    Action,
    CredentialRecord,
    Definition,
    IndexEntry,
    ProjectPolicy,
    Request,
    Rotation,
    Slot,
    State,
)
from regcred.vault.store import Store, Versioned
from regcred.work import Message, Reason, due, edited, is_static

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_WAIT = {True: timedelta(minutes=1), False: timedelta(minutes=10)}
"""The wait after a first failure: one that may pass by itself (True), or one that somebody has to mend (False)."""

LONGEST_WAIT = {True: timedelta(minutes=30), False: timedelta(hours=6)}
"""The cap of the waits, which double with each failure."""

LONGEST_RETRY_AFTER = timedelta(hours=24)
"""A vendor that asks to be left alone for longer is asked again after this."""

WAIT_JITTER = 0.2
"""The largest share by which a wait is shortened, so that an outage does not end in a stampede."""


class Identities(Protocol):
    """Gives each project its own identity; that of another can't be had."""

    def of(self, project: str, policy: ProjectPolicy) -> Identity:
        """The identity of a project; calls nobody yet."""


class Announced(StrEnum):
    """The events that others can subscribe to."""

    ROTATED = "CredentialRotated"
    FAILING = "CredentialFailing"
    REVOKED = "CredentialRevoked"


@dataclass(frozen=True, slots=True)
class Event:
    """One event, from the index entry it tells of: no secret in it."""

    announced: Announced
    reference: Reference
    entry: IndexEntry


class Announcer(Protocol):
    """Tells others what happened."""

    def announce(self, events: Sequence[Event]) -> None:
        """Emit the events.

        Raises:
            RegcredError: some or all were not taken.
        """


class OutOfTimeError(TransientError):
    """A run must end before all of its message was begun; nothing is wrong with Vault."""


class Done(StrEnum):
    """What became of one registry of a message."""

    ROTATED = "rotated"
    UNCHANGED = "unchanged"
    """A static credential is still what its upstream says; nothing was written."""
    VERIFIED = "verified"
    FAILING = "failing"
    REVOKED = "revoked"
    REMOVED = "removed"
    REPAIRED = "repaired"
    """The index was behind the credential after a crash; nothing was minted."""
    DROPPED = "dropped"
    """No longer due."""
    BUSY = "busy"
    """Somebody else holds the claim."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done about one registry, for the log and the metrics."""

    reference: Reference
    done: Done
    provider: str = ""
    version: int = 0
    error: str = ""
    error_kind: str = ""


class Task(StrEnum):
    """What a registry needs, as of now."""

    MINT = "mint"
    VERIFY = "verify"
    REVOKE = "revoke"
    REMOVE = "remove"
    REPAIR = "repair"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Seen:
    """What Vault says of one registry, read after its claim."""

    reference: Reference
    rotation: Versioned[Rotation]
    entry: IndexEntry | None
    definition: Definition | MalformedError | None
    """The definition, or why it can't be read, or None if it is known to be gone."""
    definition_version: int
    request: Versioned[Request] | None
    stored: Versioned[CredentialRecord] | None
    version: int
    """The newest version of the credential, also when that was destroyed."""

    @property
    def provider(self) -> str:
        """The provider's name, as far as it is known."""
        if isinstance(self.definition, Definition):
            return self.definition.provider
        return self.entry.provider if self.entry else ""


def decide(seen: Seen, reason: Reason, *, now: datetime) -> Task:
    """What is to be done about a registry, whatever the message said when it was sent. Pure."""
    entry = seen.entry
    if seen.definition is None:
        gone = entry is None or entry.state is State.REMOVED
        return Task.NOTHING if gone and seen.stored is None else Task.REMOVE
    if seen.request is not None:
        return _asked(seen.request.value, entry, now=now)
    if seen.stored and seen.version > (entry.version if entry else 0) and _alive(seen.stored.value, now=now):
        return Task.REPAIR
    if due(entry, now=now) or (entry and edited(entry, seen.definition_version)):
        return Task.MINT
    if reason is Reason.CHECK and entry and is_static(entry):
        return Task.MINT
    return Task.NOTHING


def _asked(request: Request, entry: IndexEntry | None, *, now: datetime) -> Task:
    if entry and entry.state is State.REVOKED and _tried_since(request, entry, now=now):
        return Task.NOTHING
    if request.action is Action.REVOKE:
        return Task.REVOKE
    return Task.VERIFY if request.action is Action.VERIFY else Task.MINT


def _tried_since(request: Request, entry: IndexEntry, *, now: datetime) -> bool:
    """Whether a request was acted on without success, and its next attempt is yet to come."""
    return (
        request.asked_at <= entry.changed_at
        and entry.next_attempt_at is not None
        and entry.next_attempt_at > now
    )


def _alive(record: CredentialRecord, *, now: datetime) -> bool:
    return record.expires_at is None or record.expires_at > now


def next_attempt(
    error: RegcredError, *, attempts: int, reference: Reference, entry: IndexEntry | None, now: datetime
) -> datetime:
    """When a failing registry is tried again.

    The wait doubles with each failure up to a cap, shortened by a jitter that the reference decides. Where the
    credential's life is known, no wait is longer than a sixteenth of it, or an eighth where somebody must mend it: a
    vendor that is back for a quarter of the life before the expiry is met, sweeps of five minutes and a lost message
    included. A vendor's Retry-After goes before all.

    Args:
        error: What went wrong; transient ones are tried again sooner.
        attempts: Failures in a row, this one included.
        reference: The registry.
        entry: Its entry, for the life of its last good credential.
        now: The time of the failure.
    """
    transient = isinstance(error, TransientError)
    doubled: int = 2 ** min(attempts - 1, 16)
    wait = min(FIRST_WAIT[transient] * doubled, LONGEST_WAIT[transient])
    if entry and entry.expires_at and entry.refresh_at:
        wait = min(wait, (entry.expires_at - entry.refresh_at) / (8 if transient else 4))
    wait -= jitter(f"{reference}#{attempts}", wait * WAIT_JITTER)
    asked = error.retry_after if isinstance(error, TransientError) else None
    if asked:
        asked = min(asked, LONGEST_RETRY_AFTER)
        wait = max(wait, asked + jitter(f"{reference}#{attempts}", asked * WAIT_JITTER))
    return now + wait


def judge(verification: Verification, *, static: bool) -> tuple[Verified, str]:
    """What a verdict means for a credential: how far it is verified, and a warning.

    Raises:
        RefusedError: the credential must not be written.
    """
    match verification.verdict:
        case Verdict.REFUSED:
            raise RefusedError(f"the registry refuses the credential: {verification.detail}")
        case Verdict.WIDER if not static:
            raise RefusedError(
                f"the credential is wider than asked: {verification.detail}; narrow the rights of what mints it"
            )
        case Verdict.WIDER:
            return Verified.YES, f"{verification.detail}; use an upstream secret for this pull alone"
        case Verdict.INCONCLUSIVE:
            return Verified.UNKNOWN, ""
        case Verdict.CAN_PULL:
            return Verified.YES, ""


class _Held:
    """A claim that we hold, and the slots kept beside it: the :class:`Journal` of A/B providers."""

    def __init__(self, store: Store, reference: Reference, rotation: Rotation, version: int) -> None:
        self._store = store
        self._reference = reference
        self._rotation = rotation
        self._version = version

    def read(self) -> Slots:
        """What was saved last."""
        return _slots(self._rotation)

    def latest(self) -> Slots:
        """What is saved now, by whomever."""
        return _slots(self._store.rotation(self._reference).value)

    def write(self, slots: Slots) -> None:
        """Save slots; raises ConflictError if the claim was lost."""
        self._write(
            {
                "slots": {
                    Slot(slot): {name: SecretStr(value) for name, value in fields.items()}
                    for slot, fields in slots.states.items()
                },
                "active": Slot(slots.active.value) if slots.active else None,
                "pending": Slot(slots.pending.value) if slots.pending else None,
            }
        )

    def release(self) -> None:
        """Give the claim back."""
        try:
            self._write({"claim": None})
        except ConflictError:
            log.warning(
                "%s: the claim ran out before it was released; is the lease too short?", self._reference
            )

    def _write(self, changes: Mapping[str, Any]) -> None:
        rotation = self._rotation.model_copy(update=dict(changes))
        self._version = self._store.write_rotation(
            self._reference, rotation, cas=self._version, slots_changed="slots" in changes
        )
        self._rotation = rotation


def _slots(saved: Rotation) -> Slots:
    """A rotation record's slots as the registry place knows them."""
    return Slots(
        states={
            slot.value: {name: value.get_secret_value() for name, value in fields.items()}
            for slot, fields in saved.slots.items()
        },
        active=SlotName(saved.active.value) if saved.active else None,
        pending=SlotName(saved.pending.value) if saved.pending else None,
    )


@dataclass(slots=True)
class _Result:
    """What one registry adds to the batch: applied together, index first."""

    outcome: Outcome
    entry: IndexEntry | None = None
    event: Announced | None = None
    answered: int = 0
    """The version of the request that was acted on, or 0."""
    held: _Held | None = None
    forget: bool = False
    """Whether the rotation document goes as well."""


@dataclass(frozen=True, slots=True)
class Rotate:
    """The verb over its interfaces. One instance serves many messages, also side by side."""

    store: Store
    provider_for: Callable[[str], Provider[Any]]
    """The provider of a name; raises MalformedError if there is none."""
    identities: Identities
    verifier: Verifier
    announcer: Announcer
    now: Callable[[], datetime]
    workers: int = 16
    """Registries of a message that are rotated side by side."""
    per_vendor: int = 10
    """Of these, those of one vendor and host."""
    lease: timedelta = timedelta(minutes=2)
    """How long a claim holds if its owner dies; longer than a run may take."""
    _bounds: dict[str, BoundedSemaphore] = field(default_factory=dict, repr=False)
    _bounds_lock: Lock = field(default_factory=Lock, repr=False)

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
        references = [Reference(message.project, name) for name in sorted(message.registries)]
        with ThreadPoolExecutor(max_workers=min(self.workers, len(references))) as pool:
            rotations, broken = _gather({name: pool.submit(self.store.rotation, name) for name in references})
            index = self.store.index(message.project)
            policy = self.store.project(message.project)
            batch = _Batch(self, owner, until, policy.value if policy else ProjectPolicy(), self.identities)
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
            self._record(message.project, results)
            announcing = pool.submit(self._announce, results)
            list(pool.map(self._settle, results))
            announcing.result()
        for error in (*broken, *failed):
            raise error
        return [result.outcome for result in results]

    def _record(self, project: str, results: Sequence[_Result]) -> None:
        updates = {result.outcome.reference.registry: result.entry for result in results if result.entry}
        if updates:
            self.store.merge_index(project, updates)

    def _settle(self, result: _Result) -> None:
        """Answer the request, then release the claim: both only once the index tells of the outcome."""
        reference = result.outcome.reference
        if result.answered:
            self.store.answered(reference, result.answered)
        if result.forget:
            self.store.remove_rotation(reference)
        elif result.held:
            result.held.release()

    def _announce(self, results: Sequence[_Result]) -> None:
        """Emit events. Delivering the message again would not emit them again, so a failure is only logged."""
        events = [
            Event(result.event, result.outcome.reference, result.entry)
            for result in results
            if result.event and result.entry
        ]
        if not events:
            return
        try:
            self.announcer.announce(events)
        except RegcredError as error:
            log.error(  # noqa: TRY400 - a typed error's one line says all
                "%d events were not announced: %s", len(events), error
            )

    def bound(self, vendor: str) -> BoundedSemaphore:
        """The bound on mints side by side at one vendor and host."""
        with self._bounds_lock:
            if vendor not in self._bounds:
                self._bounds[vendor] = BoundedSemaphore(self.per_vendor)
            return self._bounds[vendor]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the registries of one message have in common."""

    verb: Rotate
    owner: str
    until: datetime | None
    policy: ProjectPolicy
    identities: Identities

    def handle(
        self, reference: Reference, rotation: Versioned[Rotation], entry: IndexEntry | None, reason: Reason
    ) -> _Result:
        """Do what one registry needs. Raises RegcredError only for Vault and for time that ran out."""
        now = self.verb.now()
        if self.until and now >= self.until:
            raise OutOfTimeError(f"{reference}: no time was left in this run; it comes again")
        seen = self._see(reference, rotation, entry, reason)
        task = decide(seen, reason, now=now)
        if task is Task.NOTHING:
            return _Result(_outcome(seen, Done.DROPPED))
        held = self._claim(seen, now=now)
        if held is None:
            return _Result(_outcome(seen, Done.BUSY))
        result = self._do(task, seen, held)
        result.held = held
        return result

    def _see(
        self, reference: Reference, rotation: Versioned[Rotation], entry: IndexEntry | None, reason: Reason
    ) -> Seen:
        store = self.verb.store
        definition = _or_malformed(lambda: store.definition(reference))
        request = _or_malformed(lambda: store.request(reference)) if reason is Reason.ASKED else None
        stored = _or_malformed(lambda: store.credential(reference))
        for found in (request, stored):
            if isinstance(found, MalformedError):
                log.warning("left aside: %s", found)
        usable = stored if isinstance(stored, Versioned) else None
        return Seen(
            reference=reference,
            rotation=rotation,
            entry=entry,
            definition=definition.value if isinstance(definition, Versioned) else definition,
            definition_version=self._definition_version(reference, definition),
            request=request if isinstance(request, Versioned) else None,
            stored=usable,
            version=usable.version if usable else store.credential_version(reference),
        )

    def _definition_version(
        self, reference: Reference, definition: Versioned[Definition] | MalformedError | None
    ) -> int:
        if isinstance(definition, Versioned):
            return definition.version
        return self.verb.store.definition_version(reference) if definition else 0

    def _claim(self, seen: Seen, *, now: datetime) -> _Held | None:
        """Take the claim, or None if somebody else has it or was faster."""
        try:
            claimed = records.take(seen.rotation.value, owner=self.owner, now=now, lease=self.verb.lease)
            version = self.verb.store.write_rotation(
                seen.reference, claimed, cas=seen.rotation.version, slots_changed=False
            )
        except ConflictError:
            return None
        return _Held(self.verb.store, seen.reference, claimed, version)

    def _do(self, task: Task, seen: Seen, held: _Held) -> _Result:
        match task:
            case Task.REMOVE:
                return self._remove(seen)
            case Task.REVOKE:
                return self._revoke(seen, held)
            case Task.VERIFY:
                return self._verify(seen)
            case Task.REPAIR:
                return self._repair(seen)
            case _:
                return self._mint(seen, held)

    def _mint(self, seen: Seen, held: _Held) -> _Result:
        answered = seen.request.version if seen.request else 0
        try:
            definition, provider = self._provider(seen)
            context = self._context(seen, definition, held)
        except TransientError:
            raise  # Vault's trouble, not the vendor's
        except RegcredError as error:
            return self._failed(seen, error, answered=answered)
        if not definition.needs_credential():
            return self._public(seen, definition, answered=answered)
        return self._renew(seen, definition, provider, context, answered=answered)

    def _renew(
        self,
        seen: Seen,
        definition: BaseDefinition,
        provider: Provider[Any],
        context: MintContext,
        *,
        answered: int,
    ) -> _Result:
        """Mint, verify, write."""
        try:
            with self.verb.bound(vendor(definition)):
                credential = provider.mint(definition, context)
            verified, warning = self._judged(definition, provider, credential, context)
        except ConflictError:  # the claim was lost to another run, whose outcome counts
            return _Result(_outcome(seen, Done.BUSY))
        except RegcredError as error:
            return self._failed(seen, error, answered=answered)
        except Exception as error:  # noqa: BLE001 - one provider's bug must not stop the others' registries
            return self._failed(seen, _unexpected(error, seen), answered=answered)
        try:
            record, version = self._write(seen, credential)
        except ConflictError:
            return _Result(_outcome(seen, Done.BUSY))
        entry = _entry(
            record,
            version=version,
            definition_version=seen.definition_version,
            verified=verified,
            warning=warning,
            now=self._later(seen),
        )
        changed = version != seen.version
        return _Result(
            _outcome(seen, Done.ROTATED if changed else Done.UNCHANGED, version=version),
            entry=entry,
            event=Announced.ROTATED if changed else None,
            answered=answered,
        )

    def _judged(
        self,
        definition: BaseDefinition,
        provider: Provider[Any],
        credential: Credential,
        context: MintContext,
    ) -> tuple[Verified, str]:
        """See :func:`judge`; a minted credential that must not be written is ended at the vendor, so that none pile up there."""
        verification = self.verb.verifier.verify(definition, credential)
        try:
            return judge(verification, static=provider.is_static(definition))
        except RefusedError:
            slots = context.journal.read().states if context.journal else {}
            if credential.revocation_id and not slots:  # a slot is renewed by its next turn
                self._discard(definition, provider, credential.revocation_id, context)
            raise

    def _discard(
        self, definition: BaseDefinition, provider: Provider[Any], revocation_id: str, context: MintContext
    ) -> None:
        try:
            provider.revoke(definition, revocation_id, context)
        except RegcredError as error:
            log.warning("%s: the refused credential could not be ended: %s", context.reference, error)

    def _public(self, seen: Seen, definition: BaseDefinition, *, answered: int) -> _Result:
        """The entry of a registry that anybody can pull from: in order, with nothing to hand out.

        What was minted before it was defined as public is taken out of force: nobody would end it or renew it, and a
        public registry refuses a dead login.
        """
        now = self._later(seen)
        if seen.version:
            self.verb.store.destroy_credential(seen.reference, seen.version)
        entry = IndexEntry(
            state=State.REMOVED if seen.version else State.OK,
            version=seen.version,
            provider=definition.provider,
            definition_version=seen.definition_version,
            warning="it is public and needs no credential, so workloads need no annotation for it",
            next_attempt_at=now + LONGEST_WAIT[False] if seen.version else None,
            changed_at=now,
        )
        event = Announced.REVOKED if seen.stored else None
        return _Result(_outcome(seen, Done.UNCHANGED), entry=entry, event=event, answered=answered)

    def _provider(self, seen: Seen) -> tuple[BaseDefinition, Provider[Any]]:
        if seen.definition is None:
            raise MissingError(f"{seen.reference} has no definition")
        if isinstance(seen.definition, MalformedError):
            raise seen.definition
        definition = parse(seen.definition.content(), where=records.registry_path(seen.reference))
        policy = self.policy
        check_allowed(definition, hosts=policy.hosts, paths=policy.paths, accounts=policy.accounts)
        return definition, self.verb.provider_for(definition.provider)

    def _context(self, seen: Seen, definition: BaseDefinition, journal: Journal) -> MintContext:
        upstream = self.verb.store.upstream(seen.reference) if definition.upstream_fields() else None
        return MintContext(
            reference=seen.reference,
            now=self.verb.now,
            identity=self.identities.of(seen.reference.project, self.policy),
            upstream=upstream.value if upstream else {},
            in_force=seen.stored.value.revocation_id if seen.stored else "",
            journal=journal,
        )

    def _write(self, seen: Seen, credential: Credential) -> tuple[CredentialRecord, int]:
        """Put a credential in force unless it is the one that is; its record and version either way."""
        stored = seen.stored.value if seen.stored else None
        same = stored is not None and stored.dockerconfigjson == credential.dockerconfigjson()
        record = CredentialRecord.of(
            credential,
            reference=seen.reference,
            fingerprint=stored.fingerprint if stored and same else secrets.token_hex(8),
            definition_version=seen.definition_version,
        )
        record = _refresh_ahead(record, now=self.verb.now())
        if stored and same and stored.expires_at == record.expires_at:
            return stored.model_copy(update={"refresh_at": record.refresh_at}), seen.version
        return record, self.verb.store.write_credential(seen.reference, record, cas=seen.version)

    def _failed(self, seen: Seen, error: RegcredError, *, answered: int = 0) -> _Result:
        """Record a failure beside the last good credential, which stays in force.

        What was asked for is then left to the back-off; but a revoked registry has none, so its request stays.
        """
        if seen.entry and seen.entry.state is State.REVOKED:
            answered = 0
        entry = _failing(seen, error, now=self._later(seen))
        outcome = _outcome(seen, Done.FAILING, version=entry.version, error=error)
        return _Result(outcome, entry=entry, event=Announced.FAILING, answered=answered)

    def _verify(self, seen: Seen) -> _Result:
        """Check the credential that is in force; one that the registry refuses will be minted anew."""
        assert seen.request  # noqa: S101 - decide() verifies only on request
        answered = seen.request.version
        if seen.entry is None or seen.stored is None:
            return _Result(_outcome(seen, Done.DROPPED), answered=answered)
        try:
            definition, provider = self._provider(seen)
            verification = self.verb.verifier.verify(definition, _credential(seen.stored.value))
            verified, warning = judge(verification, static=provider.is_static(definition))
        except RegcredError as error:
            return self._failed(seen, error, answered=answered)
        except Exception as error:  # noqa: BLE001 - see _mint
            return self._failed(seen, _unexpected(error, seen), answered=answered)
        entry = seen.entry.model_copy(
            update={"verified": verified, "warning": warning, "changed_at": self._later(seen)}
        )
        return _Result(_outcome(seen, Done.VERIFIED, version=entry.version), entry=entry, answered=answered)

    def _repair(self, seen: Seen) -> _Result:
        """Let the index tell of a credential that was written before a crash."""
        assert seen.stored  # noqa: S101 - decide() repairs only what is stored
        entry = _entry(
            seen.stored.value,
            version=seen.version,
            definition_version=seen.stored.value.definition_version,
            verified=Verified.UNKNOWN,
            warning="",
            now=self._later(seen),
        )
        outcome = _outcome(seen, Done.REPAIRED, version=seen.version)
        return _Result(outcome, entry=entry, event=Announced.ROTATED)

    def _revoke(self, seen: Seen, held: _Held) -> _Result:
        """Take a credential out of force, now; and end it at the vendor, where that can be done.

        Clusters remove it as soon as the index says so. If the vendor is out of reach, the request and the record
        (whose id the vendor wants) stay, and the vendor is asked again later.
        """
        assert seen.request  # noqa: S101 - decide() revokes only on request
        note, again = self._revoke_upstream(seen, held)
        now = self._later(seen)
        base = seen.entry or IndexEntry(state=State.REVOKED, provider=seen.provider, changed_at=now)
        attempts = base.attempts + 1 if again and base.state is State.REVOKED else int(bool(again))
        entry = base.model_copy(
            update={
                "state": State.REVOKED,
                "version": seen.version,
                "error": note,
                "error_kind": again.kind if again else "",
                "failing_since": None,
                "attempts": attempts,
                "next_attempt_at": again
                and next_attempt(again, attempts=attempts, reference=seen.reference, entry=None, now=now),
                "changed_at": now,
            }
        )
        if not again and seen.version:
            self.verb.store.destroy_credential(seen.reference, seen.version)
        first = seen.entry is None or seen.entry.state is not State.REVOKED
        return _Result(
            _outcome(seen, Done.REVOKED, version=entry.version, error=again),
            entry=entry,
            event=Announced.REVOKED if first else None,
            answered=0 if again else seen.request.version,
        )

    def _revoke_upstream(self, seen: Seen, held: _Held) -> tuple[str, TransientError | None]:
        """Ask the vendor to end the credential: a note for people, and an error if it is worth asking again."""
        if seen.stored is None:
            return "", None
        try:
            definition, provider = self._provider(seen)
            revoked = provider.revoke(
                definition, seen.stored.value.revocation_id, self._context(seen, definition, held)
            )
        except TransientError as error:
            return f"removed here; the vendor could not be asked to revoke it: {error}", error
        except RegcredError as error:
            return f"removed here; the vendor did not revoke it: {error}", None
        except Exception as error:  # noqa: BLE001 - see _mint
            return f"removed here; the vendor did not revoke it: {_unexpected(error, seen)}", None
        if revoked is Revoked.YES:
            return "", None
        return "removed here; the vendor has no way to revoke it early: change it there", None

    def _remove(self, seen: Seen) -> _Result:
        """Take a registry out of force whose definition is gone; the numbering of its credential goes on."""
        if seen.version:
            self.verb.store.destroy_credential(seen.reference, seen.version)
        base = seen.entry or IndexEntry(state=State.REMOVED, changed_at=self.verb.now())
        entry = IndexEntry(
            state=State.REMOVED,
            version=seen.version,
            fingerprint=base.fingerprint,
            provider=base.provider,
            hosts=base.hosts,
            changed_at=self._later(seen),
        )
        return _Result(
            _outcome(seen, Done.REMOVED, version=entry.version),
            entry=entry,
            event=Announced.REVOKED,
            answered=seen.request.version if seen.request else 0,
            forget=True,
        )

    def _later(self, seen: Seen) -> datetime:
        """Now, yet after what the entry tells: the claim makes us the newest, whatever the clocks say."""
        now = self.verb.now()
        return max(now, seen.entry.changed_at + timedelta(microseconds=1)) if seen.entry else now


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


def _or_malformed(read: Callable[[], T]) -> T | MalformedError:
    """What is read, or why it can't be understood: one broken document must not stop a project."""
    try:
        return read()
    except MalformedError as error:
        return error


def vendor(definition: BaseDefinition) -> str:
    """Whom a mint calls: the provider, and the hosts or accounts where vendors count their limits."""
    return " ".join((definition.provider, *definition.typed_hosts(), *definition.accounts()))


def _outcome(seen: Seen, done: Done, *, version: int = 0, error: RegcredError | None = None) -> Outcome:
    return Outcome(
        reference=seen.reference,
        done=done,
        provider=seen.provider,
        version=version or (seen.entry.version if seen.entry else 0),
        error=str(error) if error else "",
        error_kind=error.kind if error else "",
    )


def _entry(
    record: CredentialRecord,
    *,
    version: int,
    definition_version: int,
    verified: Verified,
    warning: str,
    now: datetime,
) -> IndexEntry:
    return IndexEntry(
        state=State.OK,
        version=version,
        fingerprint=record.fingerprint,
        provider=record.provider,
        hosts=record.hosts.split(","),
        expires_at=record.expires_at,
        refresh_at=record.refresh_at,
        definition_version=definition_version,
        verified=verified,
        warning=warning,
        changed_at=now,
    )


def _failing(seen: Seen, error: RegcredError, *, now: datetime) -> IndexEntry:
    old = seen.entry
    base = old or IndexEntry(state=State.FAILING, provider=seen.provider, changed_at=now)
    attempts = base.attempts + 1
    return base.model_copy(
        update={
            "state": State.FAILING,
            "error": str(error),
            "error_kind": error.kind,
            "definition_version": seen.definition_version,
            "failing_since": base.failing_since or now,
            "attempts": attempts,
            "next_attempt_at": next_attempt(
                error, attempts=attempts, reference=seen.reference, entry=old, now=now
            ),
            "changed_at": now,
        }
    )


def _refresh_ahead(record: CredentialRecord, *, now: datetime) -> CredentialRecord:
    """A vendor may hand out a token it made before; then half of what is left decides, not a time gone by."""
    if record.expires_at is None or record.refresh_at is None or record.refresh_at > now:
        return record
    return record.model_copy(update={"refresh_at": now + (record.expires_at - now) / 2})


def _credential(record: CredentialRecord) -> Credential:
    """The credential as it was before it became a record.

    The hosts of a minted login are aliases of one registry, where one answer is enough; of a static one, each counts.
    """
    auths: Mapping[str, Mapping[str, str]] = json.loads(record.dockerconfigjson.get_secret_value())["auths"]
    hosts: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for host, login in auths.items():
        alone = () if record.expires_at else (host,)
        hosts[login["username"], login["password"], *alone].append(host.removeprefix("https://"))
    return Credential(
        provider=record.provider,
        logins=tuple(Login(key[0], SecretStr(key[1]), tuple(names)) for key, names in hosts.items()),
        issued_at=record.issued_at,
        expires_at=record.expires_at,
        revocation_id=record.revocation_id,
    )


def _unexpected(error: Exception, seen: Seen) -> RegcredError:
    """An error of no type of ours: its text may hold anything, so only its kind and place are told."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    log.error(
        "%s: unexpected %s at %s:%s", seen.reference, type(error).__name__, place.filename, place.lineno
    )
    return RegcredError(
        f"provider {seen.provider}: unexpected {type(error).__name__}; this is a bug, see the log of rotate"
    )
