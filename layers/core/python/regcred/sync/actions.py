"""The actions of a plan, as values. ``str()`` of an action describes it for people. Pure.

An action that changes the cluster has these properties:

- ``rank``: its place in the queue. Lower ranks go first: names in ServiceAccounts and first projections,
  refreshes, removals.
- ``key``: the object that must not be changed twice at the same time.
- ``verb`` and ``target``: the change and its object, for people.
- ``delays_removal``: whether a Secret stays while this action waits for a retry.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from regcred.cluster.model import UID_DIGITS, Workload
from regcred.registry_reference import Reference
from regcred.sync.messages import Reason, Why, confirm_removals

Key = tuple[str, Reference | str]
"""A namespace and a reference, the name of a Pod, or :func:`account_key`."""


@dataclass(frozen=True, slots=True)
class WriteSecret:
    """Write a Secret: create it, replace version ``old`` by a newer one, or write the same version again."""

    namespace: str
    uid: str
    reference: Reference
    version: int
    old: int | None = None
    traceparent: str = field(default="", compare=False)
    """The trace of the rotation that causes the write."""
    delays_removal: ClassVar[bool] = False

    @property
    def first(self) -> bool:
        """Whether the Secret is not known to be in place, so that Pods may be waiting for it."""
        return not self.old

    @property
    def short_uid(self) -> str:
        """The part of the namespace's uid that the ledger keeps."""
        return self.uid[:UID_DIGITS]

    @property
    def rank(self) -> int:
        """Its place in the queue."""
        return 0 if self.first else 2

    @property
    def key(self) -> Key:
        """The object that it changes."""
        return self.namespace, self.reference

    @property
    def verb(self) -> str:
        """What it does."""
        if self.first:
            return "create"
        return "repair" if self.old == self.version else "update"

    @property
    def target(self) -> str:
        """The object that it changes, for people."""
        return f"{self.namespace}/{self.reference.secret_name}"

    def __str__(self) -> str:
        change = f"{self.old} -> {self.version}" if self.verb == "update" else self.version
        return f"{self.verb}  {self.target} (version {change})"


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a Secret. Its name is removed from ServiceAccounts first."""

    namespace: str
    reference: Reference
    why: Why
    accounts: tuple[str, ...] = ()
    """The ServiceAccounts that name the Secret."""
    rank: ClassVar[int] = 3
    verb: ClassVar[str] = "delete"
    delays_removal: ClassVar[bool] = True

    @property
    def key(self) -> Key:
        """The object that it changes."""
        return self.namespace, self.reference

    @property
    def target(self) -> str:
        """The object that it changes, for people."""
        return f"{self.namespace}/{self.reference.secret_name}"

    @property
    def waits(self) -> bool:
        """Whether a live Pod that names the Secret delays the removal."""
        return self.why is Why.UNNEEDED

    def __str__(self) -> str:
        detach = f", after its name is removed from {_accounts(self.accounts)}" if self.accounts else ""
        unless = ", unless a live Pod names it" if self.waits else ""
        return f"{self.verb}  {self.target} ({self.why}){detach}{unless}"


@dataclass(frozen=True, slots=True)
class UpdateServiceAccount:
    """Add names of our Secrets to a ServiceAccount's imagePullSecrets, or remove them."""

    namespace: str
    account: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    rank: ClassVar[int] = 0
    verb: ClassVar[str] = "attach"
    delays_removal: ClassVar[bool] = True

    @property
    def key(self) -> Key:
        """The object that it changes."""
        return self.namespace, account_key(self.account)

    @property
    def target(self) -> str:
        """The object that it changes, for people."""
        return f"{self.namespace}/{self.account}"

    def __str__(self) -> str:
        parts = [f"add {', '.join(self.add)}"] if self.add else []
        parts += [f"remove {', '.join(self.remove)}"] if self.remove else []
        return f"{self.verb}  {self.namespace}/{_accounts((self.account,))}: {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class EvictPod:
    """Evict a stuck Pod that is older than the names of Secrets in its ServiceAccount."""

    namespace: str
    pod: str
    account: str
    """Its ServiceAccount."""
    version: str
    """The resourceVersion at which it was stuck."""
    rank: ClassVar[int] = 3
    verb: ClassVar[str] = "evict"
    delays_removal: ClassVar[bool] = True

    @property
    def key(self) -> Key:
        """The object that it changes."""
        return self.namespace, self.pod

    @property
    def target(self) -> str:
        """The object that it changes, for people."""
        return f"{self.namespace}/{self.pod}"

    def __str__(self) -> str:
        return (
            f"{self.verb}   {self.target} (it was created before its ServiceAccount named its pull Secrets)"
        )


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """Write an Event on a workload."""

    about: Workload
    reason: Reason
    note: str
    reference: Reference | None = None
    why: Why | None = None
    topic: str = ""
    """Distinguishes Events with the same reason. An Event about the same topic is not written again."""
    cause: str = ""
    """The explanation by a server, such as the answer of a webhook. Each of the first few causes gets an
    Event."""
    corrects: str = ""
    """The note of an Event ``NotGranted``. If it is set, this Event is written only if that one was."""
    again: bool = False
    """Whether to write the Event even if an earlier process wrote the same one, because something changed."""

    def __str__(self) -> str:
        return f"event   {self.about}: {self.reason}: {self.note}"


@dataclass(frozen=True, slots=True)
class UpdateLedger:
    """Change only the ledger: since when a Secret is unneeded, or why one is refused.

    ``forget`` drops the entry.

    If ``held`` is set, only that changes. It is the reason why the brake holds a removal, or empty if the
    brake no longer does.
    """

    namespace: str
    reference: Reference
    unused_since: datetime | None = None
    refused: Why | None = None
    forget: bool = False
    held: str | None = None

    def __str__(self) -> str:
        secret = f"{self.namespace}/{self.reference.secret_name}"
        if self.held is not None:
            held = f"held ({self.held})" if self.held else "no longer held"
            return f"record  {secret}: its removal is {held}"
        if self.forget:
            return f"forget  {secret} (its namespace is gone)"
        if self.refused:
            return f"refuse  {secret} ({self.refused})"
        if self.unused_since:
            return f"record  {secret}: unneeded since {self.unused_since:%Y-%m-%d %H:%M:%S} UTC"
        return f"record  {secret}: needed"


ClusterAction = WriteSecret | Remove | UpdateServiceAccount | EvictPod
"""An action that changes the cluster."""

Action = ClusterAction | EmitEvent | UpdateLedger


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions in order, and the removals that the brake holds."""

    actions: tuple[Action, ...] = ()
    held: tuple[Remove, ...] = ()
    in_place: int = 0
    """How many Secrets the ledger counts, for the brake's message."""
    cluster: str = ""
    """The cluster's name, for the brake's message."""

    @property
    def does_nothing(self) -> bool:
        """Whether the plan has no actions except Events."""
        return all(isinstance(action, EmitEvent) for action in self.actions)

    @property
    def starts_grace(self) -> bool:
        """Whether the grace period of a Secret begins with this plan."""
        return any(isinstance(action, UpdateLedger) and action.unused_since for action in self.actions)

    def lines(self) -> list[str]:
        """The plan in plain words, one line each."""
        lines = [str(action) for action in self.actions]
        if self.held:
            lines += [f"HELD    {action}" for action in self.held]
            lines.append(self.brake())
        return lines

    def brake(self) -> str:
        """Why the brake holds removals, and how to confirm them."""
        return (
            f"{len(self.held)} of {self.in_place} Secrets would be removed at once, which is more than the "
            f"brake allows. Sync keeps them. To confirm the removals, run: {confirm_removals(self.cluster)}"
        )


def account_key(account: str) -> str:
    """The key of a ServiceAccount. It contains a space, so it is never the name of a Pod."""
    return f"serviceaccount {account}"


def _accounts(names: tuple[str, ...]) -> str:
    return f"ServiceAccount {', '.join(names)}"
