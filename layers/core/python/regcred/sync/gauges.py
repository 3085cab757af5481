"""Shows the state of a sync as gauges."""

from __future__ import annotations

import logging
from collections import Counter

from regcred.credential import last_quarter
from regcred.registry_reference import Reference
from regcred.sync.actions import EmitEvent, Plan
from regcred.sync.decide import GONE
from regcred.sync.inventory import Inventory
from regcred.sync.ledger import Ledger
from regcred.sync.logging import log
from regcred.sync.metrics import Meter
from regcred.sync.vault_sources import Sources


class Gauges:
    """Sets the gauges after each plan for the whole cluster.

    Args:
        meter: Receives the gauges.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._held = 0

    def show_plan(self, plan: Plan) -> None:
        """Show how many removals the brake holds, and log changes of that number."""
        if len(plan.held) == self._held:
            return
        self._held = len(plan.held)
        self._meter.set("removals_held", self._held)
        if plan.held:
            log(logging.ERROR, plan.brake(), held=[str(action) for action in plan.held[:20]])

    def show_state(self, plan: Plan, ledger: Ledger, sources: Sources, inventory: Inventory) -> None:
        """Show expiry times, refusals and totals. Expiry times stay while Vault is unreachable."""
        in_place = {
            reference
            for entries in ledger.entries.values()
            for reference, entry in entries.items()
            if entry.version
        }
        in_use = [
            ({"project": project, "registry": name}, registry)
            for project, known in sources.projects.items()
            for name, registry in known.registries.items()
            if registry.expires_at and registry.state not in GONE and Reference(project, name) in in_place
        ]
        refused = _refused(plan, ledger)
        expiries = [
            (labels, registry.expires_at.timestamp()) for labels, registry in in_use if registry.expires_at
        ]
        quarters = [
            (labels, at.timestamp())
            for labels, registry in in_use
            if (at := last_quarter(registry.expires_at, registry.refresh_at))
        ]
        self._meter.replace("credential_expiry_timestamp_seconds", expiries)
        self._meter.replace("credential_last_quarter_timestamp_seconds", quarters)
        self._meter.replace("refusals", [({"reason": why}, number) for why, number in refused.items()])
        self._meter.set("secrets_in_place", ledger.in_place)
        self._meter.set("inventory_complete", inventory.complete)


def _refused(plan: Plan, ledger: Ledger) -> Counter[str]:
    """The number of refused references by reason. The plan's Events add those that are not in the ledger."""
    found = {
        (namespace, reference): entry.refused
        for namespace, entries in ledger.entries.items()
        for reference, entry in entries.items()
        if entry.refused
    }
    for action in plan.actions:
        if isinstance(action, EmitEvent) and action.reference and action.why:
            found[action.about.namespace, action.reference] = action.why
    return Counter(str(why) for why in found.values())
