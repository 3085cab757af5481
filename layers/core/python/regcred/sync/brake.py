"""Holds removals that may be an accident until somebody confirms them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from regcred.cluster.model import NAMESPACE, Workload
from regcred.sync.actions import EmitEvent, Remove, UpdateLedger
from regcred.sync.messages import Reason, Why, removal_held
from regcred.sync.view import View

ACCIDENTS = frozenset({Why.UNNEEDED, Why.REMOVED})
"""The causes of removals that the brake weighs."""
HELD_TOLD = 20
"""Of how many held removals Events tell."""


def brake(view: View, removals: list[Remove]) -> tuple[list[Remove], list[Remove]]:
    """Part the removals in those that happen and those that are held because they may be an accident.

    Held is only what can come of a mistake: that nothing needs a Secret any longer, or that its registry is gone. What a
    person has withdrawn or revoked never is. If there are too many, the projects that lose more than their share are
    held. The others go on unless they are too many without those, so that nobody can hold up somebody else's removals.
    """
    weighed = [removal for removal in removals if removal.why in ACCIDENTS]
    limit = max(view.rules.removals_allowed, view.rules.max_removal_share * view.in_place)
    if view.rules.removals_confirmed or len(weighed) <= limit:
        return removals, []
    in_place = Counter(
        reference.project
        for places in view.places.values()
        for reference, place in places.items()
        if place.version
    )
    lost = Counter(removal.reference.project for removal in weighed)
    over = {
        project
        for project, count in lost.items()
        if count > max(view.rules.removals_allowed, view.rules.max_removal_share * in_place[project])
    }
    if sum(count for project, count in lost.items() if project not in over) > limit:
        over = set(lost)
    held = [removal for removal in weighed if removal.reference.project in over]
    kept = set(held)
    return [removal for removal in removals if removal not in kept], held


def held_notes(view: View, held: Sequence[Remove]) -> list[UpdateLedger]:
    """Enter in the ledger what is held, and take back what no longer is."""
    why = {(removal.namespace, removal.reference): str(removal.why) for removal in held}
    return [
        UpdateLedger(name, reference, held=why.get((name, reference), ""))
        for name, places in view.places.items()
        for reference, place in places.items()
        if place.held != why.get((name, reference), "")
    ]


def held_events(view: View, held: Sequence[Remove]) -> list[EmitEvent]:
    """Tell of what is held, on the Namespaces: everybody who could confirm it must see it."""
    events = []
    for removal in held[:HELD_TOLD]:
        namespace = view.inventory.namespaces.get(removal.namespace)
        if namespace is not None:
            about = Workload(NAMESPACE, namespace.name, namespace.name, namespace.uid, (), admitted=True)
            note = removal_held(
                removal.reference,
                namespace.name,
                removal.why,
                count=len(held),
                cluster=view.rules.cluster,
            )
            events.append(EmitEvent(about, Reason.REMOVAL_HELD, note, removal.reference))
    return events
