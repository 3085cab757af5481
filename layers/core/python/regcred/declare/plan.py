"""Plans the steps that make Vault match the files. Pure.

Steps that remove access come before steps that give access.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from regcred.declare.comparison import Comparison
from regcred.declare.grant_plan import grant_steps
from regcred.declare.kinds import Grant, Item, ObjectKey
from regcred.declare.live_objects import Live
from regcred.declare.platform_plan import cluster_steps, differs, platform_steps
from regcred.declare.project_plan import project_steps
from regcred.declare.prune_plan import removals
from regcred.declare.registry_plan import check_room, registry_steps
from regcred.declare.steps import DeclarationPlan, Step, Terms
from regcred.registry.definition import BaseDefinition
from regcred.vault.platform.declaration import ClusterTrust, Declaration
from regcred.vault.records.declared import ProjectPolicy


def plan(wanted: Mapping[ObjectKey, Item], live: Live, terms: Terms) -> DeclarationPlan:
    """Compare the files with Vault, and plan the steps.

    Args:
        wanted: The declared objects.
        live: The objects in Vault. Pruning needs all objects.
        terms: The rules for the comparison.
    """
    comparison = Comparison(wanted, live, terms)
    steps = sorted(_steps(comparison), key=lambda step: (step.phase, step.key))
    return DeclarationPlan(tuple(steps), tuple(comparison.problems), tuple(comparison.notes))


def _steps(comparison: Comparison) -> Iterator[Step]:
    for item in comparison.wanted.values():
        match item.value:
            case ProjectPolicy():
                yield from project_steps(comparison, item, item.value)
            case Grant():
                yield from grant_steps(comparison, item, item.value)
            case Declaration():
                yield from platform_steps(item, item.value, comparison.live.platform)
            case ClusterTrust():
                yield from _cluster_steps(comparison, item, item.value)
            case BaseDefinition():
                yield from registry_steps(comparison, item, item.value)
    check_room(comparison)
    if comparison.terms.prune:
        yield from removals(comparison)


def _cluster_steps(comparison: Comparison, item: Item, new: ClusterTrust) -> Iterator[Step]:
    live = comparison.live.platform
    found = live.clusters.get(item.key.name)
    owned = comparison.owned(item, found.owner if found else "", differs=differs(live, item.key.name))
    if owned:
        yield from cluster_steps(item, new, live, owned[0])
