"""Turns the ledger into status documents of Vault, and reads them again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from regcred import __version__
from regcred.cluster.model import LedgerEntry
from regcred.errors import MalformedError
from regcred.registry_reference import Reference, is_label
from regcred.sync.logging import log
from regcred.sync.messages import Why
from regcred.vault.records.status import Placement, Status

DETAILS = 500
"""How many namespaces of one registry have details in a document. Each detail may be a different text."""

REFUSALS = 16
"""How many refusals of one project are recorded for one namespace, because its owner can name any number of
registries."""

REASONS = frozenset(Why)


def statuses(
    projects: set[str],
    entries: Mapping[str, Mapping[Reference, LedgerEntry]],
    *,
    now: datetime,
    mode: str,
) -> dict[str, Status]:
    """The documents of some projects.

    Args:
        projects: The names of the projects.
        entries: The ledger by namespace.
        now: The time at which the documents are written.
        mode: How Pods get their Secrets.
    """
    drafts: dict[Reference, Placement] = {}
    for namespace, row in entries.items():
        for reference, entry in row.items():
            if reference.project in projects:
                draft = drafts.get(reference)
                if draft is None:
                    draft = drafts[reference] = Placement.model_construct(
                        placed={}, unused_since={}, refused={}, details={}, held={}
                    )
                _enter(draft, namespace, entry)
    found = {
        project: Status(written_at=now, sync_version=__version__, mode=mode, registries={})
        for project in projects
    }
    for reference, placement in drafts.items():
        found[reference.project].registries[reference.registry] = placement
    return found


def _enter(placement: Placement, namespace: str, entry: LedgerEntry) -> None:
    if entry.version is not None:
        placement.placed.setdefault(entry.version, {})[namespace] = entry.uid
    if entry.unused_since:
        placement.unused_since[namespace] = datetime.fromisoformat(entry.unused_since)
    if entry.refused:
        placement.refused[namespace] = entry.refused
    if entry.detail and len(placement.details) < DETAILS:
        placement.details[namespace] = entry.detail
    if entry.held:
        placement.held[namespace] = entry.held


def has_room(entries: Mapping[Reference, LedgerEntry], reference: Reference) -> bool:
    """Whether a namespace with these entries has room for another refusal of the reference's project."""
    refused = sum(
        entry.version is None and other.project == reference.project for other, entry in entries.items()
    )
    return reference in entries or refused < REFUSALS


def bounded(
    found: Iterable[tuple[Reference, str, LedgerEntry]],
) -> Iterable[tuple[Reference, str, LedgerEntry]]:
    """The entries, without refusals beyond the limit of their namespace."""
    refusals: Counter[str] = Counter()
    for reference, namespace, entry in found:
        if entry.version is None:
            refusals[namespace] += 1
            if refusals[namespace] > REFUSALS:
                continue
        yield reference, namespace, entry


def entries(project: str, status: Status) -> Iterable[tuple[Reference, str, LedgerEntry]]:
    """The entries of a status document. It skips registries and namespaces whose names are invalid."""
    for registry, placement in status.registries.items():
        try:
            reference = Reference.parse(f"{project}/{registry}")
        except MalformedError as error:
            log(logging.ERROR, "an entry of a ledger is skipped", project=project, problem=str(error))
            continue
        placed = {
            name: (version, uid) for version, names in placement.placed.items() for name, uid in names.items()
        }
        for namespace in {*placed, *placement.refused}:
            if not is_label(namespace):
                problem = f"{namespace[:80]!r} is not the name of a namespace"
                log(logging.ERROR, "an entry of a ledger is skipped", project=project, problem=problem)
                continue
            version, uid = placed.get(namespace, (None, ""))
            since = placement.unused_since.get(namespace)
            refused = placement.refused.get(namespace, "")
            entry = LedgerEntry(
                version,
                uid,
                since.isoformat() if since else "",
                refused if refused in REASONS else "",
                placement.details.get(namespace, ""),
                placement.held.get(namespace, ""),
            )
            if entry != LedgerEntry():
                yield reference, namespace, entry
