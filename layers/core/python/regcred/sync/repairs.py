"""Chooses Secrets to write again, to undo changes that others made. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping

from regcred.registry_reference import Reference
from regcred.sync.actions import WriteSecret
from regcred.sync.inventory import Inventory
from regcred.sync.ledger import Ledger
from regcred.sync.plan_input import ProjectView, RegistryState

IN_FORCE = frozenset({RegistryState.OK, RegistryState.FAILING})


def repairs(
    ledger: Ledger, inventory: Inventory, busy: Container[tuple[str, Reference]]
) -> list[WriteSecret]:
    """An action for each Secret in place, which writes its expected content again. Skips ``busy`` Secrets."""
    return [
        WriteSecret(namespace, known.uid, reference, entry.version, old=entry.version)
        for namespace, entries in ledger.entries.items()
        if (known := inventory.namespaces.get(namespace)) and not known.terminating
        for reference, entry in entries.items()
        if entry.version and (namespace, reference) not in busy
    ]


def is_useful(
    action: WriteSecret,
    ledger: Ledger,
    projects: Mapping[str, ProjectView],
    busy: Container[tuple[str, Reference]],
) -> bool:
    """Whether nothing has changed since a repair was chosen, so that it is still useful."""
    entry = ledger.entry(action.namespace, action.reference)
    known = projects.get(action.reference.project)
    registry = known.registries.get(action.reference.registry) if known else None
    return (
        entry is not None
        and entry.version == action.version
        and registry is not None
        and registry.version == action.version
        and registry.state in IN_FORCE
        and (action.namespace, action.reference) not in busy
    )
