"""Plans Events about wrong annotations and missing restarts, and about credentials that expire. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from regcred.cluster.model import Mode, Namespace, Workload
from regcred.registry_reference import Reference
from regcred.sync.actions import EmitEvent
from regcred.sync.decide import is_expiring
from regcred.sync.messages import Reason, Why, expiring, mode_not_allowed, no_pod_template, restart_needed
from regcred.sync.plan_input import PlanInput, Registry


def events_about(inputs: PlanInput, namespace: Namespace, workload: Workload) -> Iterator[EmitEvent]:
    """The Events about a workload's annotations, which do not depend on its Secrets."""
    for line in workload.malformed:
        yield EmitEvent(workload, Reason.MALFORMED, f"{line}.", topic=line)
    if (
        workload.template_of
        and inputs.rules.mode_of(namespace) is not Mode.NONE
        and not _is_requested_by_template(inputs, workload)
    ):
        kind, source = workload.kind, workload.template_of
        note = no_pod_template(kind.name, workload.name, where=".".join(kind.template), source=source)
        yield EmitEvent(workload, Reason.NO_POD_TEMPLATE, note)
    mode, rules = namespace.mode, inputs.rules
    if workload.references and mode and not rules.allows(mode):
        note = mode_not_allowed(mode, namespace.name, cluster=rules.cluster, usual=rules.mode)
        yield EmitEvent(workload, Reason.MODE_NOT_ALLOWED, note, topic=mode)


def _is_requested_by_template(inputs: PlanInput, workload: Workload) -> bool:
    """Whether the object with the pod template requests the same references, so that Pods get the names."""
    source = inputs.inventory.template_source(workload)
    return source is not None and set(workload.references) <= set(source.references)


def restart_event(workload: Workload, reference: Reference) -> EmitEvent:
    """The Event for a workload that is older than the admission policy."""
    note = restart_needed(workload.kind.name, workload.name, workload.namespace)
    return EmitEvent(workload, Reason.RESTART_NEEDED, note, reference, Why.RESTART)


def expiry_events(
    registry: Registry, reference: Reference, workloads: Iterable[Workload], now: datetime
) -> Iterator[EmitEvent]:
    """A warning for each workload that uses a credential whose renewal is late."""
    if registry.expires_at is not None and is_expiring(registry, now):
        note = expiring(reference, registry.expires_at, now, registry.error)
        topic = registry.expires_at.isoformat()
        for workload in workloads:
            yield EmitEvent(workload, Reason.EXPIRING, note, reference, topic=topic)
