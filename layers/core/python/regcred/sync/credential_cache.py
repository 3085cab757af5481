"""Reads credentials from Vault, and turns them into Secrets.

Each credential is read once, whatever the number of namespaces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from regcred.cluster.dockerconfig import SecretBody, secret_body
from regcred.errors import MissingError, RegcredError, TransientError
from regcred.registry_reference import Reference
from regcred.sync.credential_versions import CredentialVersions
from regcred.sync.metrics import Meter
from regcred.sync.vault_threads import VaultThreads
from regcred.vault.store import Store

BODIES = 32 * 2**20
"""Bytes of Secrets kept in memory, so that a credential for many namespaces is read once."""


class CredentialCache:
    """Reads credentials, and keeps them for the next write.

    Args:
        store: The mount.
        vault: Runs blocking calls.
        versions: Knows which versions have existed.
        meter: Counts reads.
    """

    def __init__(self, store: Store, vault: VaultThreads, versions: CredentialVersions, meter: Meter) -> None:
        self._store = store
        self._vault = vault
        self._versions = versions
        self._meter = meter
        self._bodies: dict[Reference, SecretBody] = {}
        self._reading: dict[Reference, asyncio.Future[SecretBody]] = {}
        self._failed: set[Reference] = set()

    def fetch(self, wanted: Iterable[tuple[Reference, int]]) -> None:
        """Start to read credentials that will be needed. The later read raises any error."""
        for reference, version in wanted:
            if self._fitting(reference, version) is None and reference not in self._reading:
                self._begin(reference, version)

    async def body(self, reference: Reference, version: int) -> SecretBody:
        """The Secret of a credential at ``version`` or newer. All callers share one read from Vault.

        Raises:
            RegcredError: the credential can't be read, or Vault answers with an older one.
        """
        body = self._fitting(reference, version)
        if body is None:
            body = await asyncio.shield(self._reading.get(reference) or self._begin(reference, version))
        return body

    def has_failed(self, reference: Reference) -> bool:
        """Whether the last read of a credential has failed."""
        return reference in self._failed

    def _fitting(self, reference: Reference, version: int) -> SecretBody | None:
        body = self._bodies.get(reference)
        if body is None or body.version == version:
            return body
        return body if body.version > version and not self._versions.vault_restored(reference) else None

    def _begin(self, reference: Reference, version: int) -> asyncio.Future[SecretBody]:
        reading = asyncio.ensure_future(self._read_body(reference, version))
        self._reading[reference] = reading

        def done(finished: asyncio.Future[SecretBody]) -> None:
            self._reading.pop(reference, None)
            if not finished.cancelled():
                finished.exception()  # asyncio logs an error that nobody retrieves, and no caller may wait

        reading.add_done_callback(done)
        return reading

    async def _read_body(self, reference: Reference, version: int) -> SecretBody:
        try:
            body = await self._read(reference, version)
        except RegcredError:
            self._failed.add(reference)
            raise
        self._failed.discard(reference)
        return body

    async def _read(self, reference: Reference, version: int) -> SecretBody:
        try:
            found = await self._vault(self._store.credential, reference)
        except MissingError as error:
            # Sync has no credentials to sign in with. The caller could mistake that for a deleted namespace.
            raise TransientError(str(error)) from None
        self._meter.count("vault_credential_reads_total", project=reference.project)
        if found is None or (found.version < version and not self._versions.vault_restored(reference)):
            have = f"version {found.version}" if found else "none"
            raise TransientError(
                f"the index names version {version} of {reference}, but Vault returns {have}; sync retries"
            )
        record = found.value
        body = secret_body(
            reference, record.dockerconfigjson, version=found.version, expires_at=record.expires_at
        )
        self._keep_body(body)
        self._versions.remember(reference, found.version)
        return body

    def _keep_body(self, body: SecretBody) -> None:
        """Keep a body for the next write.

        When the limit is reached, the oldest bodies are dropped and read again later.
        """
        self._bodies.pop(body.reference, None)
        self._bodies[body.reference] = body
        size = sum(len(kept.content) for kept in self._bodies.values())
        while size > BODIES and len(self._bodies) > 1:
            size -= len(self._bodies.pop(next(iter(self._bodies))).content)

    def forget(self, project: str) -> None:
        """Drop the credentials of a project that is no longer in use."""
        self._bodies = {
            reference: body for reference, body in self._bodies.items() if reference.project != project
        }
        self._failed = {reference for reference in self._failed if reference.project != project}
