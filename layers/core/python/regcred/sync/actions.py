"""What a plan consists of. Each action is a value that can describe itself in plain words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from regcred.cluster.model import UID_DIGITS, Workload
from regcred.reference import Reference
from regcred.sync.messages import Reason, Why, confirm_removals


@dataclass(frozen=True, slots=True)
class WriteSecret:
    """Write a credential: a first one, a newer one in place of an older one (``old``), or the same one again."""

    namespace: str
    uid: str
    reference: Reference
    version: int
    old: int | None = None

    @property
    def first(self) -> bool:
        """Whether Pods may be waiting for the Secret, because nothing is known to be in place."""
        return not self.old

    @property
    def short_uid(self) -> str:
        """The part of the namespace's uid that the ledger keeps."""
        return self.uid[:UID_DIGITS]

    def __str__(self) -> str:
        if self.first:
            return f"create  {self.namespace}/{self.reference.secret_name} (version {self.version})"
        if self.old == self.version:
            return f"repair  {self.namespace}/{self.reference.secret_name} (version {self.version})"
        return f"update  {self.namespace}/{self.reference.secret_name} (version {self.old} -> {self.version})"


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a Secret. Its name is removed from ServiceAccounts first."""

    namespace: str
    reference: Reference
    why: Why
    accounts: tuple[str, ...] = ()
    """The ServiceAccounts that name the Secret."""

    @property
    def waits(self) -> bool:
        """Whether a live Pod that names the Secret delays the removal."""
        return self.why is Why.UNNEEDED

    def __str__(self) -> str:
        detach = f", after its name is taken from {_accounts(self.accounts)}" if self.accounts else ""
        unless = ", unless a live Pod names it" if self.waits else ""
        return f"delete  {self.namespace}/{self.reference.secret_name} ({self.why}){detach}{unless}"


@dataclass(frozen=True, slots=True)
class UpdateServiceAccount:
    """Add names of our Secrets to a ServiceAccount's imagePullSecrets, or remove them."""

    namespace: str
    account: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"add {', '.join(self.add)}"] if self.add else []
        parts += [f"take out {', '.join(self.remove)}"] if self.remove else []
        return f"attach  {self.namespace}/{_accounts((self.account,))}: {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class EvictPod:
    """Evict a Pod that is stuck without Secrets that its ServiceAccount names by now."""

    namespace: str
    pod: str
    account: str
    """Its ServiceAccount."""

    def __str__(self) -> str:
        return f"evict   {self.namespace}/{self.pod} (it was created before its ServiceAccount named its pull Secrets)"


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """Write an Event on a workload."""

    about: Workload
    reason: Reason
    note: str
    reference: Reference | None = None
    why: Why | None = None
    topic: str = ""
    """Tells Events with the same reason apart. An Event about the same topic is not written again."""

    def __str__(self) -> str:
        return f"tell    {self.about}: {self.reason}: {self.note}"


@dataclass(frozen=True, slots=True)
class UpdateLedger:
    """Change only the ledger: since when a Secret is unneeded, or why one is refused. ``forget`` drops the entry.

    If ``held`` is set, only that changes. It is the reason why the brake holds a removal, or empty if the brake no longer does.
    """

    namespace: str
    reference: Reference
    unused_since: datetime | None = None
    refused: Why | None = None
    forget: bool = False
    held: str | None = None

    def __str__(self) -> str:
        what = f"{self.namespace}/{self.reference.secret_name}"
        if self.held is not None:
            return (
                f"note    {what}: its removal is {f'held ({self.held})' if self.held else 'no longer held'}"
            )
        if self.forget:
            return f"forget  {what} (its namespace is gone)"
        if self.refused:
            return f"refuse  {what} ({self.refused})"
        if self.unused_since:
            return f"note    {what} is unneeded since {self.unused_since:%Y-%m-%d %H:%M:%S} UTC"
        return f"note    {what} is needed"


Action = WriteSecret | Remove | UpdateServiceAccount | EvictPod | EmitEvent | UpdateLedger


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions in order, and the removals that the brake holds."""

    actions: tuple[Action, ...] = ()
    held: tuple[Remove, ...] = ()
    in_place: int = 0
    """How many Secrets the ledger counts, for the brake's message."""
    cluster: str = ""
    """The cluster's name, for the brake's message."""

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
            f"{len(self.held)} of {self.in_place} Secrets would be removed at once, more than the set share: they are kept. "
            f"To confirm, run: {confirm_removals(self.cluster)}"
        )


def account_key(account: str) -> str:
    """The key of a ServiceAccount among the busy items. No Pod can have such a name."""
    return f"serviceaccount {account}"


def _accounts(names: tuple[str, ...]) -> str:
    return f"ServiceAccount {', '.join(names)}"
