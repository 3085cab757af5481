"""Finds grants that have no effect, such as those with a misspelt project or cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from regcred.cli import lookup
from regcred.cli.findings import Finding, Level
from regcred.errors import MalformedError, RefusedError
from regcred.printable import command
from regcred.vault.records.declared import ClusterGrants, ProjectPolicy
from regcred.vault.store import Store

NAMES_SHOWN = 3
"""The maximum number of namespaces that a finding names."""


def grants_without_effect(store: Store, projects: Sequence[str]) -> Iterator[Finding]:
    """Find grants of projects that do not exist, or that the cluster may not read.

    There are no findings if the token may not read the grants: only platform admins need them.

    Args:
        store: The records in Vault.
        projects: Only these projects; empty for all.
    """
    policies: dict[str, ProjectPolicy | None] = {}
    try:
        for cluster in store.clusters():
            try:
                found = store.cluster(cluster)
            except MalformedError as error:
                yield Finding(Level.PROBLEM, f"cluster {cluster}", str(error))
                continue
            if found:
                yield from _of_cluster(store, cluster, found.value, projects, policies)
    except RefusedError:
        return


def _of_cluster(
    store: Store,
    cluster: str,
    grants: ClusterGrants,
    projects: Sequence[str],
    policies: dict[str, ProjectPolicy | None],
) -> Iterator[Finding]:
    for project, namespaces in sorted(grants.grants.items()):
        if not namespaces or (projects and project not in projects):
            continue
        try:
            policy = _policy(store, project, policies)
        except MalformedError:
            continue  # another check reports it
        if policy and cluster in policy.clusters:
            continue
        about = f"{project} in {cluster}"
        yield Finding(Level.WARNING, about, _text(store, cluster, project, namespaces, policy))


def _policy(store: Store, project: str, policies: dict[str, ProjectPolicy | None]) -> ProjectPolicy | None:
    if project not in policies:
        found = store.project(project)
        policies[project] = found.value if found else None
    return policies[project]


def _text(
    store: Store, cluster: str, project: str, namespaces: Sequence[str], policy: ProjectPolicy | None
) -> str:
    more = f" and {len(namespaces) - NAMES_SHOWN} more" if len(namespaces) > NAMES_SHOWN else ""
    result = f"so the grant to {', '.join(namespaces[:NAMES_SHOWN])}{more} has no effect"
    remove = f"to remove it: {command('regcred', 'grant', 'remove', '--cluster', cluster, project)}"
    if policy is None:
        meant = lookup.similar_projects(store, project)
        return f"there is no such project{_in_brackets(meant)}, {result}; {remove}"
    meant = lookup.did_you_mean(cluster, policy.clusters)
    allow = f"to allow it: {command('regcred', 'project', 'add', project, '--cluster', cluster)}"
    return f"the cluster may not read the project{_in_brackets(meant)}, {result}; {allow}; {remove}"


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""
