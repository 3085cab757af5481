"""How much of a namespace's objects is kept: bounded, whatever its owner creates. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from regcred.cluster.model import Item, Kind, Namespace, ServiceAccount, StuckPod, Surplus, Workload
from regcred.reference import Reference

WEIGHT = 2048
"""What all kept items of one kind in one namespace may weigh together; a workload with one reference weighs 2."""

SURPLUS = 256
"""How many references of the objects that are not kept one by one are still kept."""


def weight(item: Item) -> int:
    """What an item takes of its namespace's share: itself and everything that it lists."""
    match item:
        case Workload():
            return 1 + len(item.references) + len(item.malformed)
        case ServiceAccount():
            return 1 + len(item.ours)
        case StuckPod():
            return 1 + len(item.pull_secrets)
        case Surplus():
            return 0
        case Namespace():
            return 0


def merged(references: Iterable[Reference], more: Iterable[Reference]) -> frozenset[Reference]:
    """Two sets of references as one, cut to :data:`SURPLUS`; what was there first stays."""
    have = set(references)
    for reference in sorted(set(more) - have):
        if len(have) >= SURPLUS:
            break
        have.add(reference)
    return frozenset(have)


class Collected:
    """The items of one list; of a namespace with too many, the rest is merged into one :class:`Surplus`."""

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
        """All that is kept."""
        rest = [Surplus(self._kind, namespace, found) for namespace, found in self._surplus.items()]
        return [*self._items, *rest]
