"""Plans the steps for the kinds Platform and Cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from regcred.declare.kinds import DeclaredKind, Item, ObjectKey
from regcred.declare.live_platform import LivePlatform
from regcred.declare.steps import Phase, Step, StepKind
from regcred.vault.platform.declaration import ClusterTrust, Declaration
from regcred.vault.platform.plan import ChangeKind, PlatformStep


def platform_steps(item: Item, new: Declaration, live: LivePlatform) -> Iterator[Step]:
    """Plan the changes of the platform. It has no owner, because only one source declares it."""
    if live.steps:
        verb = StepKind.CHANGE if live.exists else StepKind.CREATE
        step = Step(Phase.PLATFORM_WRITE, verb, item.key, new, changes=_texts(live.steps))
        yield replace(step, removals=_deletions(live.steps))


def cluster_steps(item: Item, new: ClusterTrust, live: LivePlatform, owner: str) -> Iterator[Step]:
    """Plan the changes of a cluster's sign-in.

    Args:
        item: The declared cluster.
        new: The declared sign-in.
        live: The platform and its clusters in Vault.
        owner: The owner to record.
    """
    name = item.key.name
    steps = live.cluster_steps.get(name, ())
    found = live.clusters.get(name)
    base = Step(Phase.CLUSTERS_WRITE, StepKind.CREATE, item.key, new, owner=owner)
    if not steps:
        if projects := sorted(live.unjoined.get(name, ())):  # an earlier run stopped before it joined them
            text = tuple(f"access to projects: +{project}" for project in projects)
            yield replace(base, verb=StepKind.REPAIR, changes=text)
        return
    if found is None:
        yield base
        return
    if _only_owner(steps):
        yield replace(base, verb=StepKind.ADOPT, seen=found.trust)
        return
    removed, added = _changes(found.trust, new)
    texts = (*removed, *added) or _texts(steps)
    yield replace(
        base,
        verb=StepKind.CHANGE,
        seen=found.trust,
        changes=texts,
        removals=max(len(removed), _deletions(steps)),
    )


def removed_clusters(wanted: Iterable[ObjectKey], live: LivePlatform, owner: str) -> Iterator[Step]:
    """Remove the clusters that this owner declared before, but no longer does."""
    declared = {key.name for key in wanted if key.kind is DeclaredKind.CLUSTER}
    for name, found in live.clusters.items():
        if name not in declared and found.owner == owner:
            key = ObjectKey(DeclaredKind.CLUSTER, "", name)
            yield Step(Phase.CLUSTERS_REMOVE, StepKind.REMOVE, key, seen=found.trust, removals=1)


def differs(live: LivePlatform, name: str) -> bool:
    """Whether a cluster differs in more than its owner."""
    steps = live.cluster_steps.get(name, ())
    return bool(steps) and not _only_owner(steps)


def _only_owner(steps: Iterable[PlatformStep]) -> bool:
    return all(step.verb is ChangeKind.UPDATE and step.changed == ("owner",) for step in steps)


def _changes(old: ClusterTrust | None, new: ClusterTrust) -> tuple[list[str], list[str]]:
    """The removals and the other changes as texts. Public keys are only counted."""
    if old is None:
        return [], []
    removed: list[str] = []
    added: list[str] = []
    before, after = set(old.public_keys), set(new.public_keys)
    if fewer := len(before - after):
        removed.append(f"public_keys: -{fewer}")
    if more := len(after - before):
        added.append(f"public_keys: +{more}")
    first, second = _rest(old), _rest(new)
    added += [
        f"{name}: {first[name] or 'none'} -> {second[name] or 'none'}"
        for name in second
        if first[name] != second[name] and name != "jwks_ca_pem"
    ]
    if old.jwks_ca_pem.strip() != new.jwks_ca_pem.strip():
        added.append("jwks_ca_pem: changed")
    return removed, added


def _rest(trust: ClusterTrust) -> Mapping[str, str]:
    return trust.model_dump(mode="json", exclude={"public_keys"})


def _texts(steps: Iterable[PlatformStep]) -> tuple[str, ...]:
    return tuple(str(step) for step in steps)


def _deletions(steps: Iterable[PlatformStep]) -> int:
    return sum(step.verb is ChangeKind.DELETE for step in steps)
