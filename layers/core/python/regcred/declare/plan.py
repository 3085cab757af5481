"""What must be written so that Vault is as declared, in an order that never widens before it narrows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from regcred.declare.kinds import DeclaredKind, Grant, Item, ObjectKey, SecretFrom, normal
from regcred.declare.live import Found, FoundRegistry, Live
from regcred.declare.narrow import both, changes
from regcred.declare.operator_plan import cluster_steps, differs, platform_steps, removed_clusters
from regcred.declare.steps import DeclarationPlan, Phase, Problem, Step, StepKind, Terms
from regcred.errors import RefusedError
from regcred.registry.binding import moves
from regcred.registry.definition import BaseDefinition, check_allowed
from regcred.vault.platform.declaration import ClusterTrust, Declaration
from regcred.vault.records.declared import ProjectPolicy


def plan(wanted: Mapping[ObjectKey, Item], live: Live, terms: Terms) -> DeclarationPlan:
    """Compare.

    Args:
        wanted: What the files declare.
        live: What there is; with ``prune``, all of it.
        terms: How to compare.
    """
    planner = _Planner(wanted, live, terms)
    steps = sorted(planner.steps(), key=lambda step: (step.phase, step.key))
    return DeclarationPlan(tuple(steps), tuple(planner.problems), tuple(planner.notes))


class _Planner:
    def __init__(self, wanted: Mapping[ObjectKey, Item], live: Live, terms: Terms) -> None:
        self._wanted = wanted
        self._live = live
        self._terms = terms
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def steps(self) -> Iterator[Step]:
        for item in self._wanted.values():
            if item.key.kind is DeclaredKind.PROJECT and isinstance(item.value, ProjectPolicy):
                yield from self._project(item, item.value)
            elif item.key.kind is DeclaredKind.GRANT and isinstance(item.value, Grant):
                yield from self._grant(item, item.value)
            elif isinstance(item.value, Declaration):
                yield from platform_steps(item, item.value, self._live.platform)
            elif isinstance(item.value, ClusterTrust):
                yield from self._cluster(item, item.value)
            elif isinstance(item.value, BaseDefinition):
                yield from self._registry(item, item.value)
        self._check_room()
        if self._terms.prune:
            yield from self._pruned()

    def _problem(self, item: Item, text: str) -> None:
        self.problems.append(Problem(item.where, f"{item.key}: {text}"))

    def _owned(self, item: Item, owner: str, *, differs: bool) -> tuple[str, bool] | None:
        """The owner to record, and whether it is another than before; None if another one is in the way."""
        mine = self._terms.owner
        if owner and owner != mine and not self._terms.take_over and (mine or differs):
            self._problem(
                item,
                f"belongs to {owner!r}; change it there, give --owner {owner}, or take it over by --take-over",
            )
            return None
        kept = mine or owner
        return kept, kept != owner

    def _project(self, item: Item, new: ProjectPolicy) -> Iterator[Step]:
        key = item.key
        if key.name in self._live.hidden:
            self._problem(item, "your token may not read what the project may use")
            return
        found = self._live.projects.get(key.name)
        if found is None:
            _, come = changes(ProjectPolicy(), new)
            yield Step(
                Phase.PROJECTS_WIDEN, StepKind.CREATE, key, new, owner=self._terms.owner, changes=tuple(come)
            )
            return
        old = normal(found.value) if found.value else None
        owned = self._owned(item, found.owner, differs=old != new)
        if owned is None:
            return
        owner, adopts = owned
        if old is None:
            why = ("what is written can't be read",)
            yield Step(Phase.PROJECTS_WIDEN, StepKind.CHANGE, key, new, found.version, None, owner, why)
            return
        narrow = both(old, new)
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

    def _cluster(self, item: Item, new: ClusterTrust) -> Iterator[Step]:
        live = self._live.platform
        found = live.clusters.get(item.key.name)
        owned = self._owned(item, found.owner if found else "", differs=differs(live, item.key.name))
        if owned:
            yield from cluster_steps(item, new, live, owned[0])

    def _grant(self, item: Item, new: Grant) -> Iterator[Step]:
        key = item.key
        found = self._live.clusters.get(key.scope)
        if found and found.value is None:
            self._problem(
                item,
                f"the grants of cluster {key.scope} can't be read; see 'regcred grant list --cluster {key.scope}'",
            )
            return
        grants = found.value if found else None
        old = sorted(set(grants.grants.get(key.name, []))) if grants else []
        # A cluster may have patterns on without a need of this grant: that is not this grant's to change.
        differs = old != new.namespaces or (new.globs and not (grants and grants.globs))
        owned = self._owned(item, found.owners.get(key.name, "") if found else "", differs=differs)
        if owned is None:
            return
        owner, adopts = owned
        gone = sorted({*old} - {*new.namespaces})
        come = sorted({*new.namespaces} - {*old})
        seen = Grant(namespaces=old, globs=bool(grants and grants.globs)) if old else None
        base = Step(
            Phase.GRANTS_WIDEN, StepKind.CREATE if not old else StepKind.CHANGE, key, new, 0, seen, owner
        )
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
            more = ["patterns are switched on"] if new.globs and not (grants and grants.globs) else []
            yield replace(base, changes=(*(f"+{name}" for name in come), *more))
        elif adopts and not gone:
            yield replace(base, verb=StepKind.ADOPT)

    def _registry(self, item: Item, new: BaseDefinition) -> Iterator[Step]:
        key = item.key
        found = self._live.registries.get(key.reference)
        old = found.value if found else None
        if old != new:
            self._check_allowed(item, new)
        if found is None:
            secret = self._secret(item, new, None)
            text = (f"provider {new.provider}", *_secret_text(secret))
            base = Step(Phase.REGISTRIES_WRITE, StepKind.CREATE, key, new, owner=self._terms.owner)
            yield replace(base, secret=secret, changes=text)
            return
        owned = self._owned(item, found.owner, differs=old != new)
        if owned is None:
            return
        owner, adopts = owned
        secret = self._secret(item, new, found)
        if old == new and not secret and not adopts:
            return
        verb = StepKind.ADOPT if old == new and not secret else StepKind.CHANGE
        text = (*_fields(old, new), *_secret_text(secret))
        yield Step(Phase.REGISTRIES_WRITE, verb, key, new, found.version, old, owner, text, secret)

    def _secret(self, item: Item, new: BaseDefinition, found: FoundRegistry | None) -> SecretFrom | None:
        """Where the upstream secret is to be taken from; None if what is stored stays, or none is needed."""
        fields = new.upstream_fields()
        if not fields:
            if item.secret:
                self._problem(
                    item, f"provider {new.provider} needs no upstream secret as defined; take secretFrom out"
                )
            return None
        why = _needs(new, found)
        if why and item.secret is None and found and found.value == new:
            self.notes.append(
                f"{item.where}: {item.key}: its upstream secret is missing ({', '.join(fields)})"
            )
        elif why and item.secret is None:
            self._problem(
                item,
                f"{why}, so its upstream secret ({', '.join(fields)}) is needed; say by secretFrom where it is",
            )
        return item.secret if why else None

    def _check_allowed(self, item: Item, new: BaseDefinition) -> None:
        project = item.key.scope
        declared = self._wanted.get(ObjectKey(DeclaredKind.PROJECT, "", project))
        found = self._live.projects.get(project)
        policy = declared.value if declared else found.value if found else None
        if not isinstance(policy, ProjectPolicy):
            if project not in self._live.hidden and not declared:
                self._problem(
                    item, f"there is no project {project}; declare it, or let a platform admin add it"
                )
            return
        try:
            check_allowed(new, hosts=policy.hosts, paths=policy.paths, accounts=policy.accounts)
        except RefusedError as error:
            self._problem(item, str(error))

    def _check_room(self) -> None:
        declared_keys = {key for key in self._wanted if key.kind is DeclaredKind.REGISTRY}
        counts = Counter(key.scope for key in declared_keys)
        new = {key.scope for key in declared_keys if key.reference not in self._live.registries}
        for project in sorted(new):
            count = counts[project]
            declared = self._wanted.get(ObjectKey(DeclaredKind.PROJECT, "", project))
            found = self._live.projects.get(project)
            policy = declared.value if declared else found.value if found else None
            if isinstance(policy, ProjectPolicy) and count > policy.max_registries:
                text = f"{count} registries are declared, but max_registries of the project is {policy.max_registries}"
                self.problems.append(Problem("", f"Project {project}: {text}"))

    def _pruned(self) -> Iterator[Step]:
        owner = self._terms.owner
        yield from removed_clusters(self._wanted, self._live.platform, owner)
        gone = set()
        for reference, registry in self._live.registries.items():
            key = ObjectKey(DeclaredKind.REGISTRY, reference.project, reference.registry)
            if key not in self._wanted and registry.owner == owner:
                gone.add(reference)
                yield _removal(Phase.REGISTRIES_REMOVE, key, registry)
        for cluster, grants in self._live.clusters.items():
            for project, grant_owner in grants.owners.items():
                key = ObjectKey(DeclaredKind.GRANT, cluster, project)
                if key not in self._wanted and grant_owner == owner and grants.value:
                    namespaces = sorted(set(grants.value.grants[project]))
                    text = tuple(f"-{name}" for name in namespaces)
                    seen = Grant(namespaces=namespaces, globs=grants.value.globs) if namespaces else None
                    step = Step(Phase.GRANTS_NARROW, StepKind.REMOVE, key, seen=seen, changes=text)
                    yield replace(step, removals=max(1, len(namespaces)))
        # Who may not list projects may read the bounds of some, and is not the one to remove them.
        for name, project_found in self._live.projects.items() if self._live.all_projects else ():
            key = ObjectKey(DeclaredKind.PROJECT, "", name)
            if key not in self._wanted and project_found.owner == owner:
                left = self._left(name, gone.__contains__)
                if left:
                    self.problems.append(
                        Problem("", f"{key}: can't be removed while it has registries: {', '.join(left[:5])}")
                    )
                yield _removal(Phase.PROJECTS_REMOVE, key, project_found)

    def _left(self, project: str, gone: Callable[[object], bool]) -> list[str]:
        found = [
            str(reference)
            for reference in self._live.registries
            if reference.project == project and not gone(reference)
        ]
        return sorted({*found, *_declared(self._wanted, project)})


def _declared(wanted: Iterable[ObjectKey], project: str) -> Iterator[str]:
    return (
        str(key.reference) for key in wanted if key.kind is DeclaredKind.REGISTRY and key.scope == project
    )


def _removal(phase: Phase, key: ObjectKey, found: Found[ProjectPolicy] | FoundRegistry) -> Step:
    return Step(phase, StepKind.REMOVE, key, None, found.version, found.value, removals=1)


def _needs(new: BaseDefinition, found: FoundRegistry | None) -> str:
    """Why the upstream secret must be entered (again); empty if the stored one stays."""
    if found is None:
        return "it is new"
    if found.value is None:
        return "the definition before can't be read"
    if change := moves(found.value, new):
        return change
    return "nothing is stored" if found.has_secret is False or not found.value.upstream_fields() else ""


def _secret_text(secret: SecretFrom | None) -> tuple[str, ...]:
    return (f"its upstream secret is taken from {secret}",) if secret else ()


def _fields(old: BaseDefinition | None, new: BaseDefinition) -> Iterator[str]:
    if old is None:
        yield "what is written can't be read"
        return
    before, after = old.content(), new.content()
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield f"{name}: {_short(before.get(name))} -> {_short(after.get(name))}"


def _short(value: object) -> str:
    text = "default" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - a line for people
