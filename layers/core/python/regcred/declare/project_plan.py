"""The steps for the kind Project: first what it loses, then what it gains. Pure."""

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
        comparison.problem(item, "your token may not read what the project may use")
        return
    found = comparison.live.projects.get(key.name)
    if found is None:
        _, come = changes(ProjectPolicy(), new)
        yield Step(
            Phase.PROJECTS_WIDEN, StepKind.CREATE, key, new, owner=comparison.terms.owner, changes=tuple(come)
        )
        return
    old = normal(found.value) if found.value else None
    owned = comparison.owned(item, found.owner, differs=old != new)
    if owned is None:
        return
    owner, adopts = owned
    if old is None:
        why = ("what is written can't be read",)
        yield Step(Phase.PROJECTS_WIDEN, StepKind.CHANGE, key, new, found.version, None, owner, why)
        return
    narrow = common_policy(old, new)
    gone, come = changes(old, new)
    base = Step(Phase.PROJECTS_NARROW, StepKind.NARROW, key, None, found.version, old, owner)
    narrows = bool(gone) and narrow != old
    if narrows:
        yield replace(base, to=narrow, changes=tuple(gone), removals=len(gone))
    if (narrow if narrows else old) != new:
        text = tuple(come if narrows else [*gone, *come])
        yield replace(base, phase=Phase.PROJECTS_WIDEN, verb=StepKind.CHANGE, to=new, changes=text)
    elif adopts and not narrows:
        yield replace(base, phase=Phase.PROJECTS_WIDEN, verb=StepKind.ADOPT, to=new)
