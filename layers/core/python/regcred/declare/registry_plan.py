"""Plans the steps for the kind Registry, with the upstream secrets that they need. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from regcred.declare.comparison import Comparison
from regcred.declare.kinds import DeclaredKind, Item, ObjectKey, SecretFrom
from regcred.declare.live_objects import FoundRegistry
from regcred.declare.steps import Phase, Problem, Step, StepKind
from regcred.errors import RefusedError
from regcred.registry.definition import BaseDefinition
from regcred.registry.project_policy import check_allowed
from regcred.registry.secret_destination import destination_change


def registry_steps(comparison: Comparison, item: Item, new: BaseDefinition) -> Iterator[Step]:
    """Plan the changes of a registry."""
    key = item.key
    found = comparison.live.registries.get(key.reference)
    old = found.value if found else None
    if old != new:
        _check_allowed(comparison, item, new)
    if found is None:
        secret = _secret(comparison, item, new, None)
        text = (f"provider {new.provider}", *_secret_text(secret))
        base = Step(Phase.REGISTRIES_WRITE, StepKind.CREATE, key, new, owner=comparison.terms.owner)
        yield replace(base, secret=secret, changes=text)
        return
    owned = comparison.owned(item, found.owner, differs=old != new)
    if owned is None:
        return
    owner, adopts = owned
    secret = _secret(comparison, item, new, found)
    if old == new and not secret and not adopts:
        return
    verb = StepKind.ADOPT if old == new and not secret else StepKind.CHANGE
    text = (*_fields(old, new), *_secret_text(secret))
    yield Step(Phase.REGISTRIES_WRITE, verb, key, new, found.version, old, owner, text, secret)


def _secret(
    comparison: Comparison, item: Item, new: BaseDefinition, found: FoundRegistry | None
) -> SecretFrom | None:
    """The source of the upstream secret; None if the stored secret stays, or if none is needed."""
    fields = new.upstream_fields()
    if not fields:
        if item.secret:
            comparison.problem(
                item,
                f"provider {new.provider} needs no upstream secret with this definition; remove secretFrom",
            )
        return None
    why = _needs(new, found)
    if why and item.secret is None and found and found.value == new:
        comparison.notes.append(
            f"{item.where}: {item.key}: the upstream secret in Vault is missing ({', '.join(fields)})"
        )
    elif why and item.secret is None:
        comparison.problem(
            item,
            f"{why}, so it needs the upstream secret ({', '.join(fields)}); name its source in secretFrom",
        )
    return item.secret if why else None


def _check_allowed(comparison: Comparison, item: Item, new: BaseDefinition) -> None:
    """Record a problem if the definition is outside the bounds of the project."""
    project = item.key.scope
    policy = comparison.policy(project)
    if policy is None:
        if (
            project not in comparison.live.hidden
            and ObjectKey(DeclaredKind.PROJECT, "", project) not in comparison.wanted
        ):
            comparison.problem(
                item, f"there is no project {project}; declare it, or ask a platform admin to add it"
            )
        return
    try:
        check_allowed(new, hosts=policy.hosts, paths=policy.paths, accounts=policy.accounts)
    except RefusedError as error:
        comparison.problem(item, str(error))


def check_room(comparison: Comparison) -> None:
    """Record a problem for each project that gets more registries than its limit."""
    declared_keys = {key for key in comparison.wanted if key.kind is DeclaredKind.REGISTRY}
    counts = Counter(key.scope for key in declared_keys)
    new = {key.scope for key in declared_keys if key.reference not in comparison.live.registries}
    for project in sorted(new):
        count = counts[project]
        policy = comparison.policy(project)
        if policy and count > policy.max_registries:
            text = (
                f"{count} registries are declared, but the project's max_registries is "
                f"{policy.max_registries}"
            )
            comparison.problems.append(Problem("", f"Project {project}: {text}"))


def _needs(new: BaseDefinition, found: FoundRegistry | None) -> str:
    """Why the upstream secret must be entered; empty if the stored secret stays."""
    if found is None:
        return "it is new"
    if found.value is None:
        return "the old definition can't be read"
    if change := destination_change(found.value, new):
        return change
    return "nothing is stored" if found.has_secret is False or not found.value.upstream_fields() else ""


def _secret_text(secret: SecretFrom | None) -> tuple[str, ...]:
    return (f"its upstream secret is taken from {secret}",) if secret else ()


def _fields(old: BaseDefinition | None, new: BaseDefinition) -> Iterator[str]:
    if old is None:
        yield "the old definition can't be read"
        return
    before, after = old.content(), new.content()
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield f"{name}: {_short(before.get(name))} -> {_short(after.get(name))}"


def _short(value: object) -> str:
    text = "default" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - a line for people
