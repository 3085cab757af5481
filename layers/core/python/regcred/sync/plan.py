"""Decides what to do in a cluster: observations in, actions out. Pure.

Its rules: A missing document is not a revocation. A Secret is removed only on positive proof. Nothing is done
twice. Actions that Pods may be waiting for go first. Too many removals at once wait until somebody confirms
them, unless a person requested them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from regcred.cluster.model import UID_DIGITS, LedgerEntry, Mode, Namespace
from regcred.registry_reference import Reference
from regcred.sync.actions import Plan, UpdateLedger
from regcred.sync.decide import GONE, is_expiring
from regcred.sync.plan_input import Knowledge, PlanInput
from regcred.sync.plan_namespace import Draft, NamespacePlan
from regcred.sync.removal_brake import brake, held_events, held_notes


def make_plan(inputs: PlanInput, scope: Iterable[str] | None = None) -> Plan:
    """Decide what to do.

    Args:
        inputs: The observations and settings.
        scope: The namespaces that changed; None for all. Only a plan for all namespaces warns about expiries,
            and removes Secrets that are unneeded or whose registry is gone. There the brake can compare all
            removals.
    """
    draft = Draft()
    everything = scope is None
    names = sorted({*inputs.inventory.namespaces, *inputs.entries}) if scope is None else sorted(set(scope))
    steady = _steady(inputs)
    for name in names:
        _plan_namespace(inputs, name, draft, steady, everything=everything)
    allowed, held = brake(inputs, draft.removals) if everything else (draft.removals, [])
    if everything:
        draft.notes += held_notes(inputs, held)
        draft.events += held_events(inputs, held)
    # Without a document of grants, the cluster's name may be misspelt, and the Events would be wrong.
    events = [] if inputs.grants.knowledge is Knowledge.ABSENT else draft.events
    actions = (*draft.notes, *draft.firsts, *draft.accounts, *draft.refreshes, *allowed, *events)
    return Plan(actions, tuple(held), inputs.in_place, inputs.rules.cluster)


def _steady(inputs: PlanInput) -> dict[Reference, int]:
    """The registries that need no warning or removal, with the version to have in place."""
    return {
        Reference(project, name): registry.version
        for project, known in inputs.projects.items()
        for name, registry in known.registries.items()
        if registry.state not in GONE and registry.version and not is_expiring(registry, inputs.now)
    }


def _is_settled(
    inputs: PlanInput,
    namespace: Namespace,
    entries: Mapping[Reference, LedgerEntry],
    steady: Mapping[Reference, int],
) -> bool:
    """Whether a namespace clearly needs no work. Most namespaces don't, and this check is fast."""
    if namespace.mode and not inputs.rules.allows(namespace.mode):
        return False
    mode = inputs.rules.mode_of(namespace)
    if mode is Mode.SERVICEACCOUNT or inputs.grants.knowledge is not Knowledge.KNOWN:
        return False
    uid = namespace.uid[:UID_DIGITS]
    wanted: set[Reference] = set()
    for workload in inputs.inventory.requests(namespace.name):
        if workload.malformed or workload.template_of or not (workload.admitted or mode is Mode.NONE):
            return False
        wanted.update(workload.references)
    return len(wanted) == len(entries) and all(
        reference in entries
        and entries[reference] == LedgerEntry(steady.get(reference, 0) or None, uid)
        and inputs.grants.allows(namespace.name, reference.project)
        for reference in wanted
    )


def _plan_namespace(
    inputs: PlanInput, name: str, draft: Draft, steady: Mapping[Reference, int], *, everything: bool
) -> None:
    namespace = inputs.inventory.namespaces.get(name)
    entries = inputs.entries.get(name, {})
    if namespace is not None and not namespace.terminating:
        if _is_settled(inputs, namespace, entries, steady):
            return
        NamespacePlan(inputs, namespace, entries, draft, everything=everything).make()
    elif namespace is None and inputs.inventory.complete:
        draft.notes += [UpdateLedger(name, reference, forget=True) for reference in entries]
