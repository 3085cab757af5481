"""Decides which version of a credential a namespace gets, or why it gets none. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from regcred.cluster.model import LedgerEntry, Namespace
from regcred.registry_reference import Reference
from regcred.sync.messages import Why
from regcred.sync.plan_input import UNREAD, Knowledge, PlanInput, ProjectView, Registry, RegistryState

GONE = {RegistryState.REVOKED: Why.REVOKED, RegistryState.REMOVED: Why.REMOVED}
"""The states of a registry that prove that a Secret must be removed."""

WARN_BEFORE = timedelta(hours=1)
"""How long before its expiry sync warns about a credential that has no refresh time."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one reference in a namespace that requests it."""

    version: int | None = None
    """The version to have in place. None keeps the current one."""
    why: Why | None = None
    """Why no newer version is written."""
    remove: bool = False
    detail: str = ""


def decide(inputs: PlanInput, namespace: Namespace, reference: Reference, entry: LedgerEntry) -> Decision:
    """Decide about a reference in a namespace that requests it."""
    grants = inputs.grants
    if grants.knowledge is Knowledge.UNREADABLE and not entry.version:
        return Decision(why=Why.UNREADABLE, detail="the grants of this cluster can't be read")
    if grants.knowledge is not Knowledge.UNREADABLE and not grants.allows(namespace.name, reference.project):
        return Decision(why=Why.NOT_GRANTED, remove=grants.knowledge is Knowledge.KNOWN)
    project = inputs.projects.get(reference.project, UNREAD)
    registry = project.registries.get(reference.registry)
    if registry is None:
        return _decide_unlisted(project, reference, entry)
    if registry.state in GONE:
        return Decision(why=GONE[registry.state], remove=True)
    if registry.version == 0:
        why = Why.PUBLIC if registry.state is RegistryState.OK else Why.NOT_READY
        return Decision(why=why, detail=registry.error)
    return Decision(version=registry.version)


def _decide_unlisted(project: ProjectView, reference: Reference, entry: LedgerEntry) -> Decision:
    """Decide about a registry that is not in the index, or whose index does not exist.

    That is a reason to refuse a new Secret, but never a reason to remove one.
    """
    if problem := project.unreadable.get(reference.registry):
        return Decision(why=Why.UNREADABLE, detail=problem)
    if project.knowledge is Knowledge.KNOWN or (
        project.knowledge is Knowledge.ABSENT and entry.version is None
    ):
        return Decision(why=Why.NO_SUCH_REGISTRY)
    return Decision(why=Why.UNREADABLE, detail=project.problem)


def is_expiring(registry: Registry, now: datetime) -> bool:
    """Whether the renewal is so late that the owners of workloads get a warning."""
    if registry.expires_at is None:
        return False
    refresh_at = registry.refresh_at or registry.expires_at - 2 * WARN_BEFORE
    return now >= refresh_at + (registry.expires_at - refresh_at) / 2
