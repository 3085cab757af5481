"""What a cluster holds that matters to sync, kept up to date from lists and watches. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from regcred.cluster.model import (
    NAMESPACE,
    SERVICE_ACCOUNT,
    Item,
    Kind,
    Mode,
    Namespace,
    ServiceAccount,
    Workload,
)


class Inventory:
    """Namespaces, annotated workloads and, where they are watched, ServiceAccounts.

    Every change returns the names of the namespaces that it touched.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.namespaces: dict[str, Namespace] = {}
        self.workloads: dict[str, dict[tuple[Kind, str], Workload]] = {}
        self.accounts: dict[str, dict[str, ServiceAccount]] = {}
        self._awaited = {*kinds, NAMESPACE}
        self._modes: Counter[Mode | None] = Counter()

    @property
    def complete(self) -> bool:
        """Whether every kind has been listed whole: only then does a missing workload prove anything."""
        return not self._awaited

    @property
    def awaited(self) -> frozenset[Kind]:
        """The kinds that have not been listed."""
        return frozenset(self._awaited)

    def chosen(self, mode: Mode) -> bool:
        """Whether any namespace has chosen this mode by its label."""
        return self._modes[mode] > 0

    def doubt(self, kind: Kind) -> None:
        """Say that what is known of a kind may have gone stale; it counts again after the next :meth:`replace`."""
        if kind is not SERVICE_ACCOUNT:
            self._awaited.add(kind)

    def replace(self, kind: Kind, items: Iterable[Item]) -> set[str]:
        """Take a complete list of a kind."""
        new = {_key(item): item for item in items}
        touched: set[str] = set()
        for namespace, name in self._keys(kind):
            if (namespace, name) not in new:
                touched |= self.drop(kind, namespace, name)
        for item in new.values():
            touched |= self.put(item)
        self._awaited.discard(kind)
        return touched

    def put(self, item: Item) -> set[str]:
        """Take a new or changed item."""
        namespace, name = _key(item)
        if isinstance(item, Namespace):
            old: Item | None = self.namespaces.get(name)
            if isinstance(old, Namespace):
                self._modes[old.mode] -= 1
            self._modes[item.mode] += 1
            self.namespaces[name] = item
            namespace = name
        elif isinstance(item, ServiceAccount):
            accounts = self.accounts.setdefault(namespace, {})
            old = accounts.get(name)
            accounts[name] = item
        else:
            workloads = self.workloads.setdefault(namespace, {})
            old = workloads.get((item.kind, name))
            workloads[item.kind, name] = item
        return set() if old == item else {namespace}

    def drop(self, kind: Kind, namespace: str, name: str) -> set[str]:
        """Take note that an object is gone, or asks for nothing any longer."""
        if kind is NAMESPACE:
            itself = self.namespaces.pop(name, None)
            if itself is None:
                return set()
            self._modes[itself.mode] -= 1
            return {name}
        if kind is SERVICE_ACCOUNT:
            gone: Item | None = self.accounts.get(namespace, {}).pop(name, None)
            _prune(self.accounts, namespace)
        else:
            gone = self.workloads.get(namespace, {}).pop((kind, name), None)
            _prune(self.workloads, namespace)
        return {namespace} if gone else set()

    def requests(self, namespace: str) -> list[Workload]:
        """All that asks for something in a namespace, the Namespace itself included."""
        found = list(self.workloads.get(namespace, {}).values())
        itself = self.namespaces.get(namespace)
        return [*found, itself.request] if itself and itself.request else found

    def _keys(self, kind: Kind) -> list[tuple[str, str]]:
        if kind is NAMESPACE:
            return [("", name) for name in self.namespaces]
        if kind is SERVICE_ACCOUNT:
            return [(namespace, name) for namespace, accounts in self.accounts.items() for name in accounts]
        return [
            (namespace, name)
            for namespace, workloads in self.workloads.items()
            for of, name in workloads
            if of == kind
        ]


def _key(item: Item) -> tuple[str, str]:
    return ("", item.name) if isinstance(item, Namespace) else (item.namespace, item.name)


def _prune(
    of: dict[str, dict[tuple[Kind, str], Workload]] | dict[str, dict[str, ServiceAccount]], namespace: str
) -> None:
    if not of.get(namespace, True):
        del of[namespace]
