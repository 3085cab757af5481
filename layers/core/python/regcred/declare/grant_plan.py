"""The steps for the kind Grant: first the namespaces that it loses, then those that it gains. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from regcred.declare.comparison import Comparison
from regcred.declare.kinds import Grant, Item
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
    old = sorted(set(grants.grants.get(key.name, []))) if grants else []
    # Patterns may be enabled for the cluster although this grant has none. This grant does not change that.
    differs = old != new.namespaces or (new.globs and not (grants and grants.globs))
    owned = comparison.owned(item, found.owners.get(key.name, "") if found else "", differs=differs)
    if owned is None:
        return
    owner, adopts = owned
    gone = sorted({*old} - {*new.namespaces})
    come = sorted({*new.namespaces} - {*old})
    seen = Grant(namespaces=old, globs=bool(grants and grants.globs)) if old else None
    base = Step(Phase.GRANTS_WIDEN, StepKind.CREATE if not old else StepKind.CHANGE, key, new, 0, seen, owner)
    if gone:
        kept = sorted({*old} & {*new.namespaces})
        yield replace(
            base,
            phase=Phase.GRANTS_NARROW,
            verb=StepKind.NARROW,
            to=Grant(namespaces=kept, globs=new.globs) if kept else None,
            changes=tuple(f"-{name}" for name in gone),
            removals=len(gone),
        )
    if come or (differs and not gone):
        more = ["patterns are enabled"] if new.globs and not (grants and grants.globs) else []
        yield replace(base, changes=(*(f"+{name}" for name in come), *more))
    elif adopts and not gone:
        yield replace(base, verb=StepKind.ADOPT)
