"""Holds removals that may be accidental until a person confirms them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from regcred.cluster.model import NAMESPACE, Workload
from regcred.sync.actions import EmitEvent, Remove, UpdateLedger
from regcred.sync.messages import Reason, Why, removal_held
from regcred.sync.plan_input import PlanInput

ACCIDENTS = frozenset({Why.UNNEEDED, Why.REMOVED})
"""The reasons for a removal that a mistake can cause. The brake counts only these."""
REPORTED_MAX = 20
"""How many held removals get an Event."""


def brake(inputs: PlanInput, removals: list[Remove]) -> tuple[list[Remove], list[Remove]]:
    """Split the removals into those that happen and those that are held because they may be accidental.

    Only removals that a mistake can cause are held: nothing needs the Secret any longer, or its registry is
    gone. What a person has withdrawn or revoked is never held. If there are too many removals, those of
    projects that lose more than their share are held. The others continue, unless they are too many by
    themselves. So nobody can delay the removals of other projects. A platform admin can confirm the held
    removals of a project in Vault. A confirmation does not cover later removals.
    """
    weighed = [removal for removal in removals if removal.why in ACCIDENTS and _is_in_place(inputs, removal)]
    limit = max(inputs.rules.removals_allowed, inputs.rules.max_removal_share * inputs.in_place)
    if inputs.rules.removals_confirmed or len(weighed) <= limit:
        return removals, []
    in_place = Counter(
        reference.project
        for entries in inputs.entries.values()
        for reference, entry in entries.items()
        if entry.version
    )
    lost = Counter(removal.reference.project for removal in weighed)
    over = {
        project
        for project, count in lost.items()
        if count > max(inputs.rules.removals_allowed, inputs.rules.max_removal_share * in_place[project])
    }
    if sum(count for project, count in lost.items() if project not in over) > limit:
        over = set(lost)
    over = {project for project in over if not inputs.grants.confirms(project, lost[project], inputs.now)}
    held = [removal for removal in weighed if removal.reference.project in over]
    kept = set(held)
    return [removal for removal in removals if removal not in kept], held


def _is_in_place(inputs: PlanInput, removal: Remove) -> bool:
    """Whether the Secret was written. The entry of one that was only announced has the version 0."""
    entry = inputs.entries.get(removal.namespace, {}).get(removal.reference)
    return entry is not None and bool(entry.version)


def held_notes(inputs: PlanInput, held: Sequence[Remove]) -> list[UpdateLedger]:
    """Record in the ledger which removals are held, and which are no longer held."""
    why = {(removal.namespace, removal.reference): str(removal.why) for removal in held}
    return [
        UpdateLedger(name, reference, held=why.get((name, reference), ""))
        for name, entries in inputs.entries.items()
        for reference, entry in entries.items()
        if entry.held != why.get((name, reference), "")
    ]


def held_events(inputs: PlanInput, held: Sequence[Remove]) -> list[EmitEvent]:
    """Write Events about held removals on the Namespaces, where platform admins see them."""
    events = []
    for removal in held[:REPORTED_MAX]:
        namespace = inputs.inventory.namespaces.get(removal.namespace)
        if namespace is not None:
            about = Workload(NAMESPACE, namespace.name, namespace.name, namespace.uid, (), admitted=True)
            note = removal_held(
                removal.reference,
                namespace.name,
                removal.why,
                count=len(held),
                cluster=inputs.rules.cluster,
            )
            events.append(EmitEvent(about, Reason.REMOVAL_HELD, note, removal.reference))
    return events
