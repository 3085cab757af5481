"""Restores Secrets that are missing in the cluster when something needs them.

Sync can't read Secrets, so it writes the expected ones again. That changes nothing where they are in place.
The triggers are actions of tenants. The work is therefore limited to what is granted and in place, and for
each Secret by time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from regcred.clock import Clock
from regcred.cluster.interface import Cluster
from regcred.cluster.model import Workload
from regcred.errors import RefusedError, RegcredError
from regcred.registry_reference import Reference
from regcred.sync.actions import WriteSecret
from regcred.sync.inventory import Inventory
from regcred.sync.jitter import jittered
from regcred.sync.ledger import EMPTY, Ledger
from regcred.sync.logging import log
from regcred.sync.metrics import Meter
from regcred.sync.retries import Pause, watch_wait

SOONEST = timedelta(seconds=10)
LATEST = timedelta(minutes=10)
"""The first and the longest pause before the same Secret is written again."""
FORGOTTEN = timedelta(hours=1)
"""After this time without a trigger, the pause starts again at its first value."""
WITHOUT_RIGHT = timedelta(minutes=10)
"""How soon to retry a watch that our account may not open."""

Key = tuple[str, Reference]


class Drift:
    """Decides which Secrets to write again, and when.

    Args:
        cluster: Reports missing Secrets.
        ledger: What should be in place.
        inventory: The namespaces.
        clock: Returns the time.
        meter: Counts.
        pause: Awaited before each watch.
        repair: Queues a write, unless it has become unnecessary.
    """

    def __init__(
        self,
        cluster: Cluster,
        ledger: Ledger,
        inventory: Inventory,
        clock: Clock,
        meter: Meter,
        *,
        pause: Pause,
        repair: Callable[[WriteSecret], None],
    ) -> None:
        self._cluster = cluster
        self._ledger = ledger
        self._inventory = inventory
        self._clock = clock
        self._meter = meter
        self._pause = pause
        self._repair = repair
        self._written: dict[Key, tuple[datetime, timedelta]] = {}
        """When each was last repaired, and the pause after that."""

    async def follow(self) -> None:
        """Watch the kubelet's Events until cancelled."""
        failures = 0
        while True:
            try:
                await self._pause.over()
                async for event in self._cluster.missing_secret_events():
                    failures = 0
                    self.repair_missing(event.namespace, event.note)
                failures = 0
                wait = jittered(timedelta(seconds=1))
            except RegcredError as error:
                failures += 1
                refused = isinstance(error, RefusedError)
                self._pause.heed(error)
                wait = jittered(WITHOUT_RIGHT) if refused else watch_wait(failures, error)
                self._meter.count("watch_failures_total", kind="Event", reason=error.kind)
                log(
                    logging.WARNING, "the watch for missing Secrets failed; it is retried", problem=str(error)
                )
            await asyncio.sleep(wait.total_seconds())

    def repair_missing(self, namespace: str, note: str) -> None:
        """Write the Secrets again that the text of an Event names."""
        entries = self._ledger.entries.get(namespace, EMPTY)
        self._write(namespace, [reference for reference in entries if reference.secret_name in note])

    def note_workload(self, workload: Workload) -> None:
        """Write the Secrets of a workload again, after it was created or its requests changed."""
        self._write(workload.namespace, workload.references)

    def repair_requested(self, references: set[Reference]) -> None:
        """Write the Secrets of registries again that a person had rotated or verified.

        No pause is needed: people request this rarely, and rotate answers each request once.
        """
        if not references:
            return
        for namespace, entries in list(self._ledger.entries.items()):
            for reference in references & entries.keys():
                self._repair_one(namespace, reference)

    def _write(self, namespace: str, references: Iterable[Reference]) -> None:
        for reference in references:
            entry = self._ledger.entry(namespace, reference)
            if entry and entry.version and self._admit_write((namespace, reference)):
                self._repair_one(namespace, reference)

    def _repair_one(self, namespace: str, reference: Reference) -> None:
        known, entry = self._inventory.namespaces.get(namespace), self._ledger.entry(namespace, reference)
        if known is None or known.terminating or entry is None or not entry.version:
            return
        self._meter.count("drift_repairs_total")
        self._repair(WriteSecret(namespace, known.uid, reference, entry.version, old=entry.version))

    def _admit_write(self, key: Key) -> bool:
        """Begin the pause after a write. Return False if an earlier pause has not ended."""
        now = self._clock()
        last, pause = self._written.get(key, (now - FORGOTTEN, SOONEST))
        if now - last >= FORGOTTEN:
            pause = SOONEST
        elif now - last < pause:
            return False
        else:
            pause = min(pause * 2, LATEST)
        self._written[key] = (now, pause)
        return True

    def tidy(self) -> None:
        """Drop records of writes that are older than :data:`FORGOTTEN`."""
        now = self._clock()
        self._written = {key: entry for key, entry in self._written.items() if now - entry[0] < FORGOTTEN}
