"""Carries out the actions of a plan. One class for each type of action does what follows from an outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from regcred import tracing
from regcred.clock import Clock
from regcred.cluster.annotations import reference_of
from regcred.cluster.interface import Cluster, DeniedError, NameTakenError
from regcred.cluster.model import LedgerEntry, Mode
from regcred.errors import MissingError, RegcredError, TransientError
from regcred.printable import printable
from regcred.registry_reference import Reference
from regcred.sync.actions import EvictPod, Remove, UpdateServiceAccount, WriteSecret
from regcred.sync.credential_cache import CredentialCache
from regcred.sync.inventory import Inventory
from regcred.sync.ledger import Ledger
from regcred.sync.messages import Reason, Why, not_removed
from regcred.sync.metrics import Meter
from regcred.sync.plan_input import Rules
from regcred.sync.pod_evictions import Evictions
from regcred.sync.report import Report
from regcred.sync.retries import Retries
from regcred.sync.workload_events import WorkloadEvents

A = TypeVar("A", bound=WriteSecret | Remove | UpdateServiceAccount | EvictPod)

REPORT_AFTER = 3
"""Consecutive failures after which owners get an Event about a transient error."""

MESSAGE_MAX = 400
"""The maximum length of an error in the ledger, in characters."""

CHECK_AGAIN = timedelta(seconds=30)
"""How long to wait for the end of a live Pod, or after an eviction, before sync checks the Pods again."""

KEPT_REFUSALS = frozenset({Why.REVOKED, Why.REMOVED})
"""The reasons for a removal that leave a refusal in the ledger. Without a grant, nothing is recorded in
Vault."""

Touch = Callable[[Iterable[str]], None]
"""Marks namespaces to be checked again."""


@dataclass(frozen=True, slots=True)
class SecretWriter:
    """Writes a Secret, and records it in the ledger."""

    cluster: Cluster
    credentials: CredentialCache
    ledger: Ledger
    inventory: Inventory
    rules: Rules
    workload_events: WorkloadEvents
    meter: Meter
    report: Report
    touch: Touch

    async def do(self, action: WriteSecret) -> None:
        """Read the credential and write it to the cluster. If the namespace is gone, drop the entry."""
        reference = action.reference
        with tracing.span(
            "sync",
            action.traceparent,
            cluster=self.rules.cluster,
            namespace=action.namespace,
            project=reference.project,
            registry=reference.registry,
            outcome=action.verb,
        ):
            await self._write(action)

    async def _write(self, action: WriteSecret) -> None:
        body = await self.credentials.body(action.reference, action.version)
        try:
            await self.cluster.apply_secret(action.namespace, body, first=action.first)
        except MissingError:
            self.ledger.put(action.namespace, action.reference, None)
            return
        self.ledger.enter(action.namespace, action.reference, body.version, action.short_uid)
        kind = "first" if action.first else "repair" if action.old == body.version else "refresh"
        self.report.created += kind == "first"
        self.report.updated += kind == "refresh"
        self.report.repaired += kind == "repair"
        self.meter.count("secrets_written_total", kind=kind)

    def succeed(self, action: WriteSecret) -> None:
        """Write Events for the owners. In mode serviceaccount, check the ServiceAccounts again."""
        namespace = self.inventory.namespaces.get(action.namespace)
        if namespace is not None and self.rules.mode_of(namespace) is Mode.SERVICEACCOUNT:
            self.touch((action.namespace,))
        self.workload_events.report_written(action.namespace, action.reference, first=action.first)

    def fail(self, action: WriteSecret, error: RegcredError, failures: int) -> None:
        """Record in the ledger why the Secret was not written, and write Events for the owners."""
        if isinstance(error, NameTakenError):
            self._refuse(action, LedgerEntry(refused=Why.CLASH))
            return
        why = Why.NOT_READ if self.credentials.has_failed(action.reference) else Why.NOT_WRITTEN
        describe = message_from_vault if why is Why.NOT_READ else message_for_owner
        detail = describe(error, failures)
        if detail:
            entry = self.ledger.entry(action.namespace, action.reference) or LedgerEntry()
            self._refuse(action, replace(entry, refused=why, detail=detail))

    def _refuse(self, action: WriteSecret, entry: LedgerEntry) -> None:
        namespace, reference, why = action.namespace, action.reference, Why(entry.refused)
        old = self.ledger.entry(namespace, reference)
        self.ledger.put(namespace, reference, entry)
        new = old is None or old.refused != why
        self.workload_events.report_refusal(namespace, reference, why, entry.detail, again=new)


@dataclass(frozen=True, slots=True)
class SecretRemover:
    """Removes a Secret: first its name from ServiceAccounts, then the Secret, then its ledger entry."""

    cluster: Cluster
    ledger: Ledger
    inventory: Inventory
    workload_events: WorkloadEvents
    retries: Retries
    clock: Clock
    meter: Meter
    report: Report
    touch: Touch

    async def do(self, action: Remove) -> None:
        """Remove the Secret. Wait if a live Pod still names it.

        If the namespace is gone, drop the entry.
        """
        entry = self.ledger.entry(action.namespace, action.reference)
        if entry is None or (action.waits and not entry.unused_since):
            return
        try:
            await self._remove(action, entry)
        except MissingError:
            self.ledger.put(action.namespace, action.reference, None)

    async def _remove(self, action: Remove, entry: LedgerEntry) -> None:
        name = action.reference.secret_name
        for account in action.accounts:
            try:
                await self.cluster.set_pull_secrets(action.namespace, account, add=(), remove=(name,))
            except MissingError:
                continue
        if action.waits and any(
            name in pod.pull_secrets for pod in await self.cluster.live_pods(action.namespace)
        ):
            now = self.clock()
            self.ledger.put(action.namespace, action.reference, replace(entry, unused_since=now.isoformat()))
            self.retries.put_off(action.key, CHECK_AGAIN)
            self.report.deferred += 1
            return
        await self.cluster.delete_secret(action.namespace, action.reference, placed=bool(entry.version))
        left = LedgerEntry(refused=action.why) if action.why in KEPT_REFUSALS else None
        self.ledger.put(action.namespace, action.reference, left)
        self.report.removed += 1
        self.meter.count("secrets_removed_total", why=action.why)

    def succeed(self, action: Remove) -> None:
        """Record that the ServiceAccounts no longer name the Secret."""
        self.touch((action.namespace,))
        for account in action.accounts:
            record_names(self.inventory, action.namespace, account, remove=(action.reference.secret_name,))

    def fail(self, action: Remove, error: RegcredError, failures: int) -> None:
        """Record in the ledger why the Secret was not removed, and write Events for the owners."""
        namespace, reference = action.namespace, action.reference
        if isinstance(error, NameTakenError):
            self.ledger.put(namespace, reference, LedgerEntry(refused=Why.CLASH))
        elif detail := message_for_owner(error, failures):
            entry = self.ledger.entry(namespace, reference) or LedgerEntry()
            self.ledger.put(namespace, reference, replace(entry, detail=detail))
            note = not_removed(reference, namespace, detail)
            self.workload_events.notify_owners(namespace, reference, Reason.NOT_WRITTEN, note, cause=detail)


@dataclass(frozen=True, slots=True)
class AccountUpdater:
    """Adds names of Secrets to a ServiceAccount, or removes them."""

    cluster: Cluster
    ledger: Ledger
    inventory: Inventory
    evictions: Evictions
    workload_events: WorkloadEvents
    report: Report
    touch: Touch

    async def do(self, action: UpdateServiceAccount) -> None:
        """Change the ServiceAccount. A known list is not read again: the first Pod may come at any time."""
        account = self.inventory.accounts(action.namespace).get(action.account)
        changed = await self.cluster.set_pull_secrets(
            action.namespace,
            action.account,
            add=action.add,
            remove=action.remove,
            known=account.known if account else None,
        )
        self.report.attached += changed

    def succeed(self, action: UpdateServiceAccount) -> None:
        """Record the names. Forget earlier evictions, because Pods may now be stuck for another reason."""
        self.touch((action.namespace,))
        self.evictions.end(action.namespace, action.account)
        record_names(self.inventory, action.namespace, action.account, add=action.add, remove=action.remove)
        for reference, entry in self._entries(action):
            if entry.refused == Why.NOT_ATTACHED:
                self.ledger.put(action.namespace, reference, replace(entry, refused="", detail=""))
                self.workload_events.report_attached(action.namespace, reference, action.account)

    def fail(self, action: UpdateServiceAccount, error: RegcredError, failures: int) -> None:
        """Record in the ledger why new Pods don't get the names, and write Events for the owners."""
        detail = message_for_owner(error, failures)
        if not detail:
            return
        why = Why.NOT_ATTACHED
        for reference, entry in self._entries(action):
            self.ledger.put(action.namespace, reference, replace(entry, refused=why, detail=detail))
            new = entry.refused != why
            self.workload_events.report_refusal(action.namespace, reference, why, detail, again=new)

    def _entries(self, action: UpdateServiceAccount) -> Iterator[tuple[Reference, LedgerEntry]]:
        """The Secrets in place whose names the action adds."""
        for reference in filter(None, map(reference_of, action.add)):
            entry = self.ledger.entry(action.namespace, reference)
            if entry is not None and entry.version:
                yield reference, entry


@dataclass(frozen=True, slots=True)
class PodEvictor:
    """Evicts a stuck Pod."""

    cluster: Cluster
    retries: Retries
    meter: Meter
    report: Report
    touch: Touch

    async def do(self, action: EvictPod) -> None:
        """Evict the Pod.

        If a disruption budget forbids it or the Pod has changed, sync checks it again later.
        """
        evicted = await self.cluster.evict(action.namespace, action.pod, version=action.version)
        self.retries.put_off(action.key, CHECK_AGAIN)
        self.report.evicted += evicted
        self.meter.count("pods_evicted_total", outcome="evicted" if evicted else "put-off")

    def succeed(self, action: EvictPod) -> None:
        """Check the namespace again."""
        self.touch((action.namespace,))

    def fail(self, action: EvictPod, error: RegcredError, failures: int) -> None:
        """Do nothing: the failure is in the log and the report."""


def message_for_owner(error: RegcredError, failures: int) -> str:
    """The message about a failure for the owner of a workload; empty if it is too early for one."""
    if isinstance(error, DeniedError):
        return error.words
    if error.answer and failures >= REPORT_AFTER:
        return f"the API server answered {error.answer.status} {error.answer.reason}"
    return ""


def message_from_vault(error: RegcredError, failures: int) -> str:
    """Why a credential can't be read, for the owner of a workload; empty if it is too early for a message."""
    if isinstance(error, TransientError) and failures < REPORT_AFTER:
        return ""
    return printable(str(error))[:MESSAGE_MAX]


def record_names(
    inventory: Inventory,
    namespace: str,
    account: str,
    *,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
) -> None:
    """Record a change to a ServiceAccount. Its watch confirms the change later."""
    known = inventory.accounts(namespace).get(account)
    if known is not None:
        ours = {*known.ours, *add} - set(remove)
        inventory.put(replace(known, ours=tuple(sorted(ours)), known=None))
