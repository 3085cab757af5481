"""Compares the platform in Vault or OpenBao with its declaration, and repairs it.

The platform consists of the mount, policies, sign-in methods, groups and quotas. Regcred does not change
anything outside the mount whose name does not start with ``regcred-``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import hvac

from regcred.errors import MalformedError
from regcred.registry_reference import is_label
from regcred.vault.kv2 import VaultKeyValue
from regcred.vault.platform.declaration import (
    ClusterTrust,
    Declaration,
    LambdaIamTrust,
    LambdaTrust,
    Platform,
    default_directory,
    load,
)
from regcred.vault.platform.plan import (
    ChangeKind,
    PlatformStep,
    desired,
    desired_cluster,
    desired_project,
    plan,
    readers_of,
)
from regcred.vault.platform.project_setup import ProjectSetup
from regcred.vault.platform.server import PlatformServer
from regcred.vault.platform.system import desired_system
from regcred.vault.platform.writer import carry_out
from regcred.vault.store import Store

__all__ = [
    "ChangeKind",
    "ClusterTrust",
    "Declaration",
    "LambdaIamTrust",
    "LambdaTrust",
    "Platform",
    "PlatformStep",
    "apply_platform",
    "default_directory",
    "ensure_cluster",
    "ensure_project",
    "load",
    "plan_platform",
]


def ignore(_text: str) -> None:
    """Discard a message."""


def plan_platform(
    vault: hvac.Client, platform: Platform, *, on_unreadable: Callable[[str], None] = ignore
) -> list[PlatformStep]:
    """Compare Vault with the declaration and with ``platform/projects``. Nothing is changed.

    A project whose document can't be read keeps its readers, and does not affect other projects.

    Args:
        vault: A client with the policy ``regcred-platform-operator``, which may read all of this.
        platform: The declaration.
        on_unreadable: Called with a message for each such project.

    Returns:
        The steps that repair Vault, deletions last; empty if everything is as declared.

    Raises:
        RegcredError: the errors of :class:`regcred.vault.interface.KeyValue`.
    """
    server, platform = _open(vault, platform)
    known = server.clusters() | set(platform.declaration.clusters)
    read = _readers(server, vault, platform, on_unreadable)
    found = dict.fromkeys(platform.declaration.prepared_projects, ()) | read
    readers = {project: known & set(clusters) for project, clusters in found.items()}
    wanted = {**desired(platform, readers), **desired_system(platform)}
    return plan(server.observe({*wanted, *server.ours()}), wanted)


def apply_platform(
    vault: hvac.Client,
    platform: Platform,
    *,
    prune: bool = False,
    on_unreadable: Callable[[str], None] = ignore,
) -> list[PlatformStep]:
    """Change Vault to match the declaration. A second run does nothing.

    Args:
        vault: See :func:`plan_platform`.
        platform: See :func:`plan_platform`.
        prune: Whether to delete our resources that are no longer declared, such as those of removed clusters
            and projects.
        on_unreadable: See :func:`plan_platform`.

    Returns:
        The steps that were carried out.

    Raises:
        RegcredError: as :func:`plan_platform`. Earlier steps stay done. Run it again.
    """
    steps = plan_platform(vault, platform, on_unreadable=on_unreadable)
    return carry_out(_open(vault, platform)[0], steps, prune=prune)


def ensure_project(
    vault: hvac.Client, platform: Platform, project: str, clusters: Iterable[str] | None = None
) -> list[PlatformStep]:
    """Set up one project: its policies, its groups, and the clusters that may read it.

    See :class:`regcred.vault.platform.project_setup.ProjectSetup`.

    Args:
        vault: See :func:`plan_platform`.
        platform: See :func:`plan_platform`.
        project: The project.
        clusters: The clusters that may read it; None for those that ``platform/projects/P`` names.

    Returns:
        The steps that were carried out.
    """
    return ProjectSetup(vault, _within(vault, platform)).ensure(project, clusters)


def ensure_cluster(
    vault: hvac.Client, platform: Platform, cluster: str, trust: ClusterTrust
) -> list[PlatformStep]:
    """Set up the sign-in of one cluster, or replace its keys.

    Returns:
        The steps that were carried out.
    """
    server, platform = _open(vault, platform)
    wanted = desired_cluster(with_cluster(platform, cluster, trust), cluster)
    return carry_out(server, plan(server.observe(wanted), wanted), prune=False)


def with_cluster(platform: Platform, cluster: str, trust: ClusterTrust) -> Platform:
    """A platform with one more cluster."""
    return platform.with_declaration(clusters={**platform.declaration.clusters, cluster: trust})


def _open(vault: hvac.Client, platform: Platform) -> tuple[PlatformServer, Platform]:
    """The server, and the platform in the client's namespace."""
    platform = _within(vault, platform)
    server = PlatformServer(vault, quotas=platform.has_quotas)
    server.need_namespaces()
    return server, platform


def _within(vault: hvac.Client, platform: Platform) -> Platform:
    return platform.within(str(vault.adapter.namespace or ""))


def _store(vault: hvac.Client, platform: Platform) -> Store:
    return Store(VaultKeyValue(vault, mount=platform.declaration.mount.path))


def _readers(
    server: PlatformServer, vault: hvac.Client, platform: Platform, on_unreadable: Callable[[str], None]
) -> dict[str, Iterable[str]]:
    """By project, the clusters that may read it."""
    found: dict[str, Iterable[str]] = {}
    if not server.has_documents(platform.declaration.mount.path):
        return found
    store = _store(vault, platform)
    for project in filter(is_label, store.project_policies()):  # 'regcred project list' reports other names
        try:
            policy = store.project(project)
        except MalformedError as error:
            found[project] = readers_of(server.observe(desired_project(platform, project, ())), project)
            on_unreadable(f"{error}; project {project} keeps its readers until its document can be read")
            continue
        if policy:
            found[project] = policy.value.clusters
    return found
