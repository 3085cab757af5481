"""Selects the registries that a namespace in mode serviceaccount gets before a workload needs them. Pure.

The first Pod of a workload is created about a tenth of a second after the workload. That is too short for
sync to change the ServiceAccount. A prepared namespace has the Secrets and the names before that. It gets
nothing that an annotation could not request, because only grants by exact name count.
"""

from __future__ import annotations

from collections.abc import Mapping

from regcred.cluster.model import NAMESPACE, Mode, Namespace, Workload
from regcred.registry_reference import Reference
from regcred.sync.decide import GONE
from regcred.sync.plan_input import UNREAD, Grants, ProjectView, Rules

PREPARED_MAX = 16
"""How many Secrets are prepared for one namespace. The kubelet watches each Secret that a Pod names."""


def prepared_projects(rules: Rules, grants: Grants, namespace: Namespace) -> list[str]:
    """The projects whose registries are prepared for a namespace."""
    if not rules.prepare or namespace.terminating or rules.mode_of(namespace) is not Mode.SERVICEACCOUNT:
        return []
    return sorted(project for project, names in grants.exact.items() if namespace.name in names)


def prepared_request(
    rules: Rules, grants: Grants, projects: Mapping[str, ProjectView], namespace: Namespace
) -> Workload | None:
    """What is prepared for a namespace, as a request of the Namespace; None if nothing is prepared.

    If the granted projects have too many registries, the first ones by name count.
    """
    found = [
        Reference(project, name)
        for project in prepared_projects(rules, grants, namespace)
        for name, registry in sorted(projects.get(project, UNREAD).registries.items())
        if registry.version and registry.state not in GONE
    ]
    if not found:
        return None
    return Workload(
        NAMESPACE,
        namespace.name,
        namespace.name,
        namespace.uid,
        tuple(found[:PREPARED_MAX]),
        (),
        admitted=True,
    )
