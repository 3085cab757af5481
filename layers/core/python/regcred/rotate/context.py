"""The context of one registry's rotation: its documents, the claim on it, and the collaborators."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import BoundedSemaphore, Lock
from typing import Any, Protocol

from regcred.errors import MalformedError, MissingError, RegcredError, TooSoonError
from regcred.log import describe_bug
from regcred.registry.definition import BaseDefinition
from regcred.registry.interface import Identity, MintContext, Provider, Verifier
from regcred.registry.parsing import parse
from regcred.registry.project_policy import check_allowed
from regcred.registry.secret_destination import check_destination
from regcred.rotate import index_entries
from regcred.rotate.decide import NO_REQUEST, Answered, RegistryDocuments
from regcred.rotate.outcome import Announced, Outcome, Result, RotationResult
from regcred.rotate.registry_claim import HeldClaim
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.paths import registry_path, upstream_path
from regcred.vault.store import Store

log = logging.getLogger(__name__)


class Identities(Protocol):
    """Gives each project its own identity, and never that of another project."""

    def of(self, project: str, policy: ProjectPolicy) -> Identity:
        """The identity of a project. Makes no calls."""


PER_SECOND = 20
"""The maximum number of mints per second at one vendor and host. It is ECR's limit for one account."""


class Bounds:
    """Limits how many mints run at once and start per second, per vendor and host, across all messages."""

    def __init__(self, limit: int, *, now: Callable[[], datetime], sleep: Callable[[float], None]) -> None:
        self._limit = limit
        self._now = now
        self._sleep = sleep
        self._permits: dict[str, BoundedSemaphore] = {}
        self._begun: dict[str, deque[datetime]] = {}
        self._lock = Lock()

    @contextmanager
    def at(self, definition: BaseDefinition) -> Iterator[None]:
        """Wait until a mint may start for this provider, and for these hosts or accounts."""
        vendor = " ".join((definition.provider, *definition.typed_hosts(), *definition.accounts()))
        with self._lock:
            permits = self._permits.setdefault(vendor, BoundedSemaphore(self._limit))
        with permits:
            if delay := self._delay(vendor):
                self._sleep(delay)
            yield

    def _delay(self, vendor: str) -> float:
        """Count the next mint, and return how many seconds it must wait for the limit."""
        with self._lock:
            begun = self._begun.setdefault(vendor, deque(maxlen=PER_SECOND))
            start = now = self._now()
            if len(begun) == PER_SECOND:
                start = max(now, begun[0] + timedelta(seconds=1))
            begun.append(start)
        return (start - now).total_seconds()


@dataclass(frozen=True, slots=True)
class Tools:
    """The collaborators of a rotation, as interfaces."""

    store: Store
    provider_for: Callable[[str], Provider[Any]]
    """Returns the provider of a name, or raises MalformedError."""
    identities: Identities
    verifier: Verifier
    now: Callable[[], datetime]
    bounds: Bounds
    sleep: Callable[[float], None]
    """Waits for some seconds."""


@dataclass(frozen=True, slots=True)
class RotationContext:
    """The input of a handler."""

    tools: Tools
    policy: ProjectPolicy
    seen: RegistryDocuments
    claim: HeldClaim
    until: datetime | None = None
    """No further registry starts after this time."""

    def now(self) -> datetime:
        """The current time, but always later than the entry's, because clocks may differ."""
        now, entry = self.tools.now(), self.seen.entry
        return max(now, entry.changed_at + timedelta(microseconds=1)) if entry else now

    def provider(self) -> tuple[BaseDefinition, Provider[Any]]:
        """The parsed definition, checked against the project's policy, and its provider.

        Raises:
            RegcredError: the definition can't be read, or the project may not use what it names.
        """
        seen = self.seen
        if seen.definition is None:
            raise MissingError(f"{seen.reference} has no definition")
        if isinstance(seen.definition, MalformedError):
            raise seen.definition
        definition = parse(seen.definition.content(), where=registry_path(seen.reference))
        policy = self.policy
        check_allowed(definition, hosts=policy.hosts, paths=policy.paths, accounts=policy.accounts)
        return definition, self.tools.provider_for(definition.provider)

    def mint_context(self, definition: BaseDefinition) -> MintContext:
        """The input of the provider. Reads the upstream secret if the definition needs one.

        Raises:
            RegcredError: Vault failed, or the secret was entered for another destination.
        """
        seen, tools = self.seen, self.tools
        upstream = tools.store.upstream(seen.reference) if definition.upstream_fields() else None
        if upstream:
            check_destination(
                upstream.value.bound_to,
                definition,
                where=upstream_path(seen.reference),
                remedy=f"enter the secret again: regcred registry set-secret {seen.reference}",
            )
        return MintContext(
            reference=seen.reference,
            now=tools.now,
            identity=tools.identities.of(seen.reference.project, self.policy),
            upstream=upstream.value.fields if upstream else {},
            in_force=seen.stored.value.revocation_id if seen.stored else "",
            slot_store=self.claim,
        )

    def result(
        self,
        done: RotationResult,
        entry: IndexEntry | None = None,
        *,
        event: Announced | None = None,
        answered: Answered = NO_REQUEST,
        error: RegcredError | None = None,
    ) -> Result:
        """Build the result of this rotation."""
        version = entry.version if entry else 0
        return Result(outcome(self.seen, done, version=version, error=error), entry, event, answered)

    def failed(self, error: RegcredError, *, answered: Answered = NO_REQUEST) -> Result:
        """Record a failure. The last good credential stays in use.

        The back-off then decides about a request. A revoked registry has no back-off, so its request stays.
        """
        if self.seen.entry and self.seen.entry.state is State.REVOKED:
            answered = NO_REQUEST
        entry = index_entries.failing(self.seen, error, now=self.now())
        return self.result(
            RotationResult.FAILING, entry, event=Announced.FAILING, answered=answered, error=error
        )

    def too_soon(self, error: TooSoonError) -> Result:
        """Change nothing but the answer to a request, which says when to request again.

        An edited definition stays due, by its version.
        """
        seen = self.seen
        if seen.entry is None or seen.request is None:
            return self.result(RotationResult.TOO_SOON, error=error)
        entry = seen.entry.model_copy(update={"answer": str(error), "changed_at": self.now()})
        return self.result(RotationResult.TOO_SOON, entry, answered=seen.answerable, error=error)

    def typed(self, error: Exception) -> RegcredError:
        """Convert an error to one of our types.

        The text of another error may contain a secret, so only its type and its place are logged.
        """
        if isinstance(error, RegcredError):
            return error
        details, seen = describe_bug(error), self.seen
        log.error("%s: unexpected %s at %s", seen.reference, details["error"], details["at"])
        return RegcredError(
            f"provider {seen.provider}: unexpected {details['error']}; this is a bug, see the log of rotate"
        )


def outcome(
    seen: RegistryDocuments, done: RotationResult, *, version: int = 0, error: RegcredError | None = None
) -> Outcome:
    """Describe what was done about a registry, for the log and the metrics."""
    return Outcome(
        reference=seen.reference,
        done=done,
        provider=seen.provider,
        version=version or (seen.entry.version if seen.entry else 0),
        error=str(error) if error else "",
        error_kind=error.kind if error else "",
    )
