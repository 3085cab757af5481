"""Plans the steps that remove objects that are no longer declared. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from regcred.declare.comparison import Comparison
from regcred.declare.grant_plan import grant_texts
from regcred.declare.kinds import DeclaredKind, Grant, ObjectKey
from regcred.declare.live_objects import Found, FoundRegistry
from regcred.declare.platform_plan import removed_clusters
from regcred.declare.steps import Phase, Problem, Step, StepKind
from regcred.vault.records.declared import ProjectPolicy


def removals(comparison: Comparison) -> Iterator[Step]:
    """Remove the objects that this owner declared before, but no longer does."""
    owner = comparison.terms.owner
    yield from removed_clusters(comparison.wanted, comparison.live.platform, owner)
    gone = set()
    for reference, registry in comparison.live.registries.items():
        key = ObjectKey(DeclaredKind.REGISTRY, reference.project, reference.registry)
        if key not in comparison.wanted and registry.owner == owner:
            gone.add(reference)
            yield _removal(Phase.REGISTRIES_REMOVE, key, registry)
    for cluster, grants in comparison.live.clusters.items():
        for project, grant_owner in grants.owners.items():
            key = ObjectKey(DeclaredKind.GRANT, cluster, project)
            if key not in comparison.wanted and grant_owner == owner and grants.value:
                seen = Grant.of(grants.value, project)
                text = grant_texts("-", seen.namespaces, seen.delegated) if seen else ()
                step = Step(Phase.GRANTS_NARROW, StepKind.REMOVE, key, seen=seen, changes=text)
                yield replace(step, removals=max(1, len(text)))
    # Projects are only removed if the token may list them all. Other tokens may read the bounds of a few.
    for name, project_found in comparison.live.projects.items() if comparison.live.all_projects else ():
        key = ObjectKey(DeclaredKind.PROJECT, "", name)
        if key not in comparison.wanted and project_found.owner == owner:
            left = _left(comparison, name, gone.__contains__)
            if left:
                comparison.problems.append(
                    Problem("", f"{key}: can't be removed while it has registries: {', '.join(left[:5])}")
                )
            comparison.notes += _grants_left(comparison, name)
            yield _removal(Phase.PROJECTS_REMOVE, key, project_found)


def _grants_left(comparison: Comparison, project: str) -> Iterator[str]:
    """Notes about the grants of a project that this source may not remove."""
    for cluster, grants in comparison.live.clusters.items():
        is_left = grants.owners.get(project) != comparison.terms.owner
        if is_left and grants.value and Grant.of(grants.value, project):
            yield (
                f"Grant {cluster}/{project} stays, because it has another owner or none. A new project with "
                f"this name would get it. To remove it: regcred grant remove --cluster {cluster} {project}"
            )


def _left(comparison: Comparison, project: str, gone: Callable[[object], bool]) -> list[str]:
    """The registries that a project would have after the plan."""
    found = [
        str(reference)
        for reference in comparison.live.registries
        if reference.project == project and not gone(reference)
    ]
    return sorted({*found, *_declared(comparison.wanted, project)})


def _declared(wanted: Iterable[ObjectKey], project: str) -> Iterator[str]:
    return (
        str(key.reference) for key in wanted if key.kind is DeclaredKind.REGISTRY and key.scope == project
    )


def _removal(phase: Phase, key: ObjectKey, found: Found[ProjectPolicy] | FoundRegistry) -> Step:
    return Step(phase, StepKind.REMOVE, key, None, found.version, found.value, removals=1)
