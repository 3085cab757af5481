"""Sets up projects in Vault: their policies, their groups, and the clusters that may read them."""

from __future__ import annotations

from collections.abc import Iterable

import hvac

from regcred.errors import RegcredError
from regcred.vault.kv2 import VaultKeyValue
from regcred.vault.platform.declaration import Platform
from regcred.vault.platform.plan import PlatformStep, desired_project, plan
from regcred.vault.platform.server import PlatformServer
from regcred.vault.platform.writer import carry_out
from regcred.vault.store import Store


class ProjectSetup:
    """Sets up one or many projects. It reads once what the projects have in common. Thread-safe.

    Args:
        vault: The client. If only members change, the policy ``regcred-platform-admin`` is enough.
        platform: The declaration, in the client's namespace.
        many: Whether there are so many projects that listing the existing policies and groups saves requests.
    """

    def __init__(self, vault: hvac.Client, platform: Platform, *, many: bool = False) -> None:
        self._vault = vault
        self._platform = platform
        self._many = many
        self._server = self._new_server()
        self._is_checked = False
        self._store = Store(VaultKeyValue(vault, mount=platform.declaration.mount.path))
        self._skipped: dict[str, frozenset[str]] = {}

    def ensure(self, project: str, clusters: Iterable[str] | None = None) -> list[PlatformStep]:
        """Set up a project. Call this after each change of ``platform/projects/P``, which names its clusters.

        A cluster without an entity is skipped. It becomes a member when it is set up.

        Args:
            project: The project.
            clusters: The clusters that may read it; None for those that ``platform/projects/P`` names.

        Returns:
            The steps that were carried out.

        Raises:
            RefusedError: the token may not do this.
        """
        if not self._is_checked:
            self._server.need_namespaces()
            self._is_checked = True
        if clusters is None:
            policy = self._store.project(project)
            clusters = policy.value.clusters if policy else ()
        readers, known = frozenset(clusters), self._server.clusters()
        self._skipped[project] = readers - known
        wanted = desired_project(self._platform, project, known & readers)
        return carry_out(self._server, plan(self._server.observe(wanted), wanted), prune=False)

    def finish(self) -> dict[str, RegcredError]:
        """Set up projects again if a cluster of theirs was set up after this object was created.

        Returns:
            By project, the error of this second setup.
        """
        skipped = {project: clusters for project, clusters in self._skipped.items() if clusters}
        failed: dict[str, RegcredError] = {}
        if not skipped:
            return failed
        try:
            self._server = self._new_server()
            known = self._server.clusters()
        except RegcredError as error:
            return dict.fromkeys(skipped, error)
        for project in (project for project, clusters in skipped.items() if clusters & known):
            try:
                self.ensure(project)
            except RegcredError as error:
                failed[project] = error
        return failed

    def _new_server(self) -> PlatformServer:
        return PlatformServer(self._vault, quotas=self._platform.has_quotas, lists=self._many)
