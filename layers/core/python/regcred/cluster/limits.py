"""Limits how much is kept of a namespace's objects, whatever its owner creates. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from regcred.cluster.model import Item, Kind, Namespace, ServiceAccount, StuckPod, Surplus, Workload
from regcred.registry_reference import Reference

WEIGHT = 2048
"""The limit for all kept items of one kind in one namespace. A workload with one reference counts as 2."""

SURPLUS = 256
"""How many references are kept of all objects beyond that limit."""


def weight(item: Item) -> int:
    """How much of its namespace's limit an item uses: 1 for itself, and 1 for each entry of its lists."""
    match item:
        case Workload():
            return 1 + len(item.references) + len(item.malformed)
        case ServiceAccount():
            return 1 + max(len(item.ours), len(item.known.names) if item.known else 0)
        case StuckPod():
            return 1 + len(item.pull_secrets)
        case Surplus():
            return 0
        case Namespace():
            return 0


def merged(references: Iterable[Reference], more: Iterable[Reference]) -> frozenset[Reference]:
    """The union of two sets of references, cut to :data:`SURPLUS`. Earlier ones stay."""
    have = set(references)
    for reference in sorted(set(more) - have):
        if len(have) >= SURPLUS:
            break
        have.add(reference)
    return frozenset(have)


class Collected:
    """The items of one list.

    If a namespace has too many, the excess ones are merged into one :class:`Surplus`.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._items: list[Item] = []
        self._weights: Counter[str] = Counter()
        self._surplus: dict[str, frozenset[Reference]] = {}

    def add(self, item: Item) -> None:
        """Keep an item, or merge it with others if its namespace has too many."""
        namespace = item.namespace
        new = self._weights[namespace] + weight(item)
        if new <= WEIGHT:
            self._weights[namespace] = new
            self._items.append(item)
        elif isinstance(item, Workload):
            self._surplus[namespace] = merged(self._surplus.get(namespace, ()), item.references)

    def items(self) -> list[Item]:
        """All kept items."""
        rest = [Surplus(self._kind, namespace, found) for namespace, found in self._surplus.items()]
        return [*self._items, *rest]
