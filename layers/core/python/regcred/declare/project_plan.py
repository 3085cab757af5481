"""Plans the steps for the kind Project: first what it loses, then what it gains. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from regcred.declare.comparison import Comparison
from regcred.declare.kinds import Item, normal
from regcred.declare.policy_changes import changes, common_policy
from regcred.declare.steps import Phase, Step, StepKind
from regcred.vault.records.declared import ProjectPolicy


def project_steps(comparison: Comparison, item: Item, new: ProjectPolicy) -> Iterator[Step]:
    """Plan the changes of a project."""
    key = item.key
    if key.name in comparison.live.hidden:
        reason = comparison.live.hidden[key.name]
        comparison.problem(item, f"your token may not read the bounds of the project ({reason})")
        return
    found = comparison.live.projects.get(key.name)
    if found is None:
        _, added = changes(ProjectPolicy(), new)
        yield Step(
            Phase.PROJECTS_WIDEN,
            StepKind.CREATE,
            key,
            new,
            owner=comparison.terms.owner,
            changes=tuple(added),
        )
        return
    old = normal(found.value) if found.value else None
    owned = comparison.owned(item, found.owner, differs=old != new)
    if owned is None:
        return
    owner, adopts = owned
    if old is None:
        why = ("the old bounds can't be read",)
        yield Step(Phase.PROJECTS_WIDEN, StepKind.CHANGE, key, new, found.version, None, owner, why)
        return
    yield from _repair(comparison, item, old, new)
    narrow = common_policy(old, new)
    removed, added = changes(old, new)
    base = Step(Phase.PROJECTS_NARROW, StepKind.NARROW, key, None, found.version, old, owner)
    narrows = bool(removed) and narrow != old
    if narrows:
        yield replace(base, to=narrow, changes=tuple(removed), removals=len(removed))
    if (narrow if narrows else old) != new:
        text = tuple(added if narrows else [*removed, *added])
        yield replace(base, phase=Phase.PROJECTS_WIDEN, verb=StepKind.CHANGE, to=new, changes=text)
    elif adopts and not narrows:
        yield replace(base, phase=Phase.PROJECTS_WIDEN, verb=StepKind.ADOPT, to=new)


def _repair(comparison: Comparison, item: Item, old: ProjectPolicy, new: ProjectPolicy) -> Iterator[Step]:
    """Plan to update Vault's groups if they differ from the document, and no other step updates them."""
    members = comparison.live.platform.members
    if members is None:
        return
    name, possible = item.key.name, {*old.clusters} & members.clusters
    group = members.groups.get(name)
    stale, missing = (group or frozenset()) - {*old.clusters}, possible - (group or frozenset())
    if stale and not {*old.clusters} - {*new.clusters}:
        text = tuple(f"access of clusters: -{cluster}" for cluster in sorted(stale))
        step = Step(Phase.PROJECTS_NARROW, StepKind.REPAIR, item.key, old, seen=old, changes=text)
        yield replace(step, removals=len(stale))
    elif (missing or group is None) and {*old.clusters} == {*new.clusters}:
        text = tuple(f"access of clusters: +{cluster}" for cluster in sorted(missing))
        yield Step(Phase.PROJECTS_WIDEN, StepKind.REPAIR, item.key, old, seen=old, changes=text)
