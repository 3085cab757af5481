"""Plans the steps for the kind Grant: first the namespaces that it loses, then those that it gains. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from regcred.declare.comparison import Comparison
from regcred.declare.kinds import Grant, Item
from regcred.declare.namespace_sets import common_grant, lost
from regcred.declare.steps import Phase, Step, StepKind


def grant_steps(comparison: Comparison, item: Item, new: Grant) -> Iterator[Step]:
    """Plan the changes of a grant."""
    key = item.key
    found = comparison.live.clusters.get(key.scope)
    if found and found.value is None:
        comparison.problem(
            item,
            f"the grants of cluster {key.scope} can't be read; see 'regcred grant list --cluster "
            f"{key.scope}'",
        )
        return
    grants = found.value if found else None
    old = Grant.of(grants, key.name) if grants else None
    # The cluster may allow patterns although this grant has none. This grant does not change that.
    enables = new.globs and not (grants and grants.globs)
    same = old is not None and (old.namespaces, old.delegated) == (new.namespaces, new.delegated)
    owned = comparison.owned(
        item, found.owners.get(key.name, "") if found else "", differs=enables or not same
    )
    if owned is None:
        return
    owner, adopts = owned
    verb = StepKind.CHANGE if old else StepKind.CREATE
    base = Step(Phase.GRANTS_WIDEN, verb, key, new, 0, old, owner)
    before = old or Grant.model_construct(namespaces=[], delegated=[])
    removed = grant_texts("-", lost(before.namespaces, new.namespaces), lost(before.delegated, new.delegated))
    narrowed = common_grant(before, new) if removed else old
    if removed:
        narrows = replace(base, phase=Phase.GRANTS_NARROW, verb=StepKind.NARROW, to=narrowed)
        yield replace(narrows, changes=removed, removals=len(removed))
    left = narrowed or Grant.model_construct(namespaces=[], delegated=[])
    added = grant_texts(
        "+",
        sorted({*new.namespaces} - {*left.namespaces}),
        sorted({*new.delegated} - {*left.delegated}),
    )
    reached = (left.namespaces, left.delegated) == (new.namespaces, new.delegated)
    if enables or not reached:
        yield replace(base, changes=(*added, *(["patterns are enabled"] if enables else [])))
    elif adopts and not removed:
        yield replace(base, verb=StepKind.ADOPT)


def grant_texts(sign: str, namespaces: Sequence[str], delegated: Sequence[str]) -> tuple[str, ...]:
    """The added (`+`) or removed (`-`) namespaces as texts for people."""
    return (
        *(f"{sign}{name}" for name in namespaces),
        *(f"{sign}{name} (delegated)" for name in delegated),
    )
