"""The objects of a cluster that matter to sync, kept up to date from lists and watches. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from regcred.cluster.limits import WEIGHT, merged, weight
from regcred.cluster.model import (
    NAMESPACE,
    POD,
    SERVICE_ACCOUNT,
    Item,
    Kind,
    Mode,
    Namespace,
    ServiceAccount,
    StuckPod,
    Surplus,
    Workload,
)
from regcred.registry_reference import Reference

T = TypeVar("T", Workload, ServiceAccount, StuckPod)
Name = tuple[Kind, str]
"""The key of an object within its namespace."""


CROWDED = (
    "the namespace has too many annotated objects; sync places the pull Secrets of all of them, but writes "
    "Events for some of them only"
)
"""The message for the owner of a namespace that exceeds :data:`regcred.cluster.limits.WEIGHT`."""


class _Table(Generic[T]):
    """Items by namespace.

    An empty namespace uses no memory, and a namespace with too many items keeps only some.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[Name, T]] = {}
        self._weights: Counter[str] = Counter()

    def fits(self, namespace: str, name: Name, item: T) -> bool:
        """Whether the namespace has room for an item."""
        return self._weights[namespace] - self._weight(namespace, name) + weight(item) <= WEIGHT

    def put(self, namespace: str, name: Name, item: T) -> bool:
        """Keep an item if there is room; otherwise drop its earlier version.

        Return whether anything changed.
        """
        if not self.fits(namespace, name, item):
            return self.drop(namespace, name)
        row = self.rows.setdefault(namespace, {})
        self._weights[namespace] += weight(item) - self._weight(namespace, name)
        changed = row.get(name) != item
        row[name] = item
        return changed

    def drop(self, namespace: str, name: Name) -> bool:
        """Drop an item. Return whether it existed."""
        row = self.rows.get(namespace, {})
        self._weights[namespace] -= self._weight(namespace, name)
        gone = row.pop(name, None) is not None
        if not row:
            self.rows.pop(namespace, None)
            del self._weights[namespace]
        return gone

    def names(self, kind: Kind) -> list[tuple[str, str]]:
        """Namespace and name of all items of a kind."""
        return [(namespace, name) for namespace, row in self.rows.items() for of, name in row if of == kind]

    def _weight(self, namespace: str, name: Name) -> int:
        old = self.rows.get(namespace, {}).get(name)
        return weight(old) if old is not None else 0


class Inventory:
    """Namespaces, annotated workloads and, where they are watched, ServiceAccounts and stuck Pods.

    Each method that changes something returns the names of the changed namespaces.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.namespaces: dict[str, Namespace] = {}
        self._workloads: _Table[Workload] = _Table()
        self._accounts: _Table[ServiceAccount] = _Table()
        self._stuck: _Table[StuckPod] = _Table()
        self._surplus: dict[str, dict[Kind, frozenset[Reference]]] = {}
        """The requests of excess workloads, by namespace and kind. Valid until the next list of the kind."""
        self._awaited = {*kinds, NAMESPACE}
        self._modes: Counter[Mode | None] = Counter()
        self.accounts_known = False
        """Whether ServiceAccounts have been listed. Until then it is unknown which of them name a Secret."""

    @property
    def complete(self) -> bool:
        """Whether every kind has been listed completely. Only then is a missing workload a proof."""
        return not self._awaited

    def is_chosen(self, mode: Mode) -> bool:
        """Whether any namespace has chosen this mode by its label."""
        return self._modes[mode] > 0

    def has_requests(self, kind: Kind) -> bool:
        """Whether any object of a kind has a request."""
        return bool(self._workloads.names(kind))

    def mark_stale(self, kind: Kind) -> None:
        """Mark a kind as possibly outdated. It counts again after the next :meth:`replace`."""
        if kind is not SERVICE_ACCOUNT:
            self._awaited.add(kind)

    def replace(self, kind: Kind, items: Iterable[Item]) -> set[str]:
        """Store a complete list of a kind."""
        new = {(item.namespace, item.name): item for item in items}
        touched = self._forget_surplus(kind)
        for namespace, name in self._names(kind):
            if (namespace, name) not in new:
                touched |= self.drop(kind, namespace, name)
        for item in new.values():
            touched |= self.put(item)
        self._awaited.discard(kind)
        self.accounts_known |= kind is SERVICE_ACCOUNT
        return touched

    def put(self, item: Item) -> set[str]:
        """Store a new or changed item."""
        if isinstance(item, Namespace):
            return self._put_namespace(item)
        if isinstance(item, Surplus):
            changed = self._put_surplus(item.namespace, item.kind, item.references)
        elif isinstance(item, ServiceAccount):
            changed = self._accounts.put(item.namespace, (SERVICE_ACCOUNT, item.name), item)
        elif isinstance(item, StuckPod):
            changed = self._stuck.put(item.namespace, (POD, item.name), item)
            changed |= self._workloads.drop(item.namespace, (POD, item.name))
        else:
            changed = self._put_workload(item)
        return {item.namespace} if changed else set()

    def _put_workload(self, item: Workload) -> bool:
        name = (item.kind, item.name)
        changed = self._stuck.drop(item.namespace, name)
        if not self._workloads.fits(item.namespace, name, item):
            changed |= self._put_surplus(item.namespace, item.kind, item.references)
        return self._workloads.put(item.namespace, name, item) or changed

    def _put_surplus(self, namespace: str, kind: Kind, references: Iterable[Reference]) -> bool:
        kinds = self._surplus.setdefault(namespace, {})
        old = kinds.get(kind)
        kinds[kind] = merged(old or (), references)
        return kinds[kind] != old

    def _forget_surplus(self, kind: Kind) -> set[str]:
        touched = {namespace for namespace, kinds in self._surplus.items() if kind in kinds}
        for namespace in touched:
            del self._surplus[namespace][kind]
            if not self._surplus[namespace]:
                del self._surplus[namespace]
        return touched

    def _put_namespace(self, item: Namespace) -> set[str]:
        old = self.namespaces.get(item.name)
        if old is not None:
            self._modes[old.mode] -= 1
        self._modes[item.mode] += 1
        self.namespaces[item.name] = item
        return set() if old == item else {item.name}

    def drop(self, kind: Kind, namespace: str, name: str) -> set[str]:
        """Record that an object no longer exists, or no longer has a request."""
        if kind is NAMESPACE:
            known = self.namespaces.pop(name, None)
            if known is None:
                return set()
            self._modes[known.mode] -= 1
            self._surplus.pop(name, None)
            return {name}
        tables = (self._workloads, self._accounts, self._stuck)
        gone = [table.drop(namespace, (kind, name)) for table in tables]
        return {namespace} if any(gone) else set()

    def requesting_namespaces(self) -> set[str]:
        """The namespaces that may contain requests."""
        return {*self._workloads.rows, *self._surplus, *self.namespaces}

    def requests(self, namespace: str) -> list[Workload]:
        """All objects with requests in a namespace, including the Namespace itself."""
        found = list(self._workloads.rows.get(namespace, {}).values())
        known = self.namespaces.get(namespace)
        if known and known.request:
            found.append(known.request)
        if known and namespace in self._surplus:
            found.append(self._merged_request(known))
        return found

    def template_source(self, workload: Workload) -> Workload | None:
        """The annotated object that has the pod template of a custom workload; None if there is none."""
        requests = self.requests(workload.namespace)
        return next((it for it in requests if (it.kind.name, it.name) == workload.template_of), None)

    def _merged_request(self, namespace: Namespace) -> Workload:
        """The requests of the excess workloads, as one request of the Namespace."""
        references: frozenset[Reference] = frozenset()
        for more in self._surplus[namespace.name].values():
            references = merged(references, more)
        return Workload(
            NAMESPACE,
            namespace.name,
            namespace.name,
            namespace.uid,
            tuple(sorted(references)),
            (CROWDED,),
            admitted=True,
        )

    def accounts(self, namespace: str) -> Mapping[str, ServiceAccount]:
        """The ServiceAccounts of a namespace, sorted by name."""
        row = self._accounts.rows.get(namespace, {})
        return {name: row[kind, name] for kind, name in sorted(row, key=lambda name: name[1])}

    def stuck_pods(self, namespace: str) -> list[StuckPod]:
        """The Pods of a namespace whose images can't be pulled, sorted by name."""
        return sorted(self._stuck.rows.get(namespace, {}).values(), key=lambda pod: pod.name)

    def _names(self, kind: Kind) -> list[tuple[str, str]]:
        if kind is NAMESPACE:
            return [("", name) for name in self.namespaces]
        return [
            name for table in (self._workloads, self._accounts, self._stuck) for name in table.names(kind)
        ]
