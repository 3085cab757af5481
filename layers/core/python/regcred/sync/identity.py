"""Checks that sync's name in Vault belongs to this cluster, before anything is written."""

from __future__ import annotations

import logging

from regcred.clock import Clock
from regcred.cluster.interface import Cluster
from regcred.errors import ConflictError, RegcredError
from regcred.sync.logging import log
from regcred.sync.vault_threads import VaultThreads
from regcred.vault.records.identity import ClusterIdentity
from regcred.vault.store import Store


class WrongClusterError(RegcredError):
    """The name belongs to another cluster."""

    kind = "wrong-cluster"


class IdentityCheck:
    """Compares this cluster with the one that is pinned to its name in Vault.

    Args:
        cluster: This cluster.
        store: The mount.
        name: The name under which sync runs.
        vault: Runs blocking calls.
        clock: Returns the time.
    """

    def __init__(self, cluster: Cluster, store: Store, name: str, vault: VaultThreads, clock: Clock) -> None:
        self._cluster = cluster
        self._store = store
        self._name = name
        self._vault = vault
        self._clock = clock
        self.proven = False
        """Whether a check has succeeded."""

    async def prove(self, *, pin: bool) -> bool:
        """Check as :meth:`check` does, but log a failure instead of raising it.

        Args:
            pin: Pin this cluster to the name if the name has no cluster yet. It should be false for a cluster
                without grants, because its name may be misspelt.

        Returns:
            Whether the name belongs to this cluster. False if that is unknown.

        Raises:
            WrongClusterError: the name belongs to another cluster.
        """
        try:
            return await self.check(pin=pin)
        except WrongClusterError:
            raise
        except RegcredError as error:
            problem = str(error)
            log(
                logging.WARNING,
                "sync does nothing until it knows whether its name belongs to this cluster",
                problem=problem,
            )
            return False

    async def check(self, *, pin: bool) -> bool:
        """Whether the name belongs to this cluster. After the first success, no further check is made.

        Args:
            pin: Pin this cluster to the name if the name has no cluster yet.

        Raises:
            WrongClusterError: the name belongs to another cluster.
            RegcredError: Vault or the API server can't answer.
        """
        if self.proven:
            return True
        uid = await self._cluster.uid()
        found = await self._vault(self._store.identity, self._name)
        if found is None and not pin:
            return False
        if found is None:
            identity = ClusterIdentity(uid=uid, pinned_at=self._clock())
            try:
                await self._vault(self._store.pin_identity, self._name, identity)
                log(logging.INFO, "this cluster is pinned to its name", cluster=self._name, uid=uid)
            except ConflictError:
                found = await self._vault(self._store.identity, self._name)
        if found is not None and found.value.uid != uid:
            raise WrongClusterError(
                f"the name {self._name} belongs to another cluster: its namespace kube-system has the uid "
                f"{found.value.uid}, and here it has {uid}. Nothing was written. Correct the name "
                f"(--cluster, REGCRED_CLUSTER, or the chart's value cluster); if {self._name} was rebuilt, "
                f"a platform admin runs: regcred cluster reset {self._name}"
            )
        self.proven = True
        return True
