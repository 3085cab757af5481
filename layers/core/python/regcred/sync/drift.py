"""Puts back what is missing in the cluster though it should be there, when something needs it.

Sync can't read Secrets, so it writes what should be in place once more: that changes nothing where it is. The triggers are what
tenants do, so the work is bounded by what is granted and in place, and for each Secret by time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from regcred.cluster.interface import Cluster
from regcred.cluster.model import Workload
from regcred.errors import RefusedError, RegcredError
from regcred.reference import Reference
from regcred.sync.actions import WriteSecret
from regcred.sync.clock import Clock, jittered
from regcred.sync.inventory import Inventory
from regcred.sync.ledger import EMPTY, Ledger
from regcred.sync.logging import log
from regcred.sync.metrics import Meter

SOONEST = timedelta(seconds=10)
LATEST = timedelta(minutes=10)
"""How long a Secret is not written again after it was: the first pause, and what it grows to while it goes on."""
FORGOTTEN = timedelta(hours=1)
"""After so long without a trigger the pause is the first one again."""
WITHOUT_RIGHT = timedelta(minutes=10)
"""When the watch is tried again that our account may not make."""
LONGEST_WAIT = timedelta(minutes=1)

Key = tuple[str, Reference]


class Drift:
    """Decides which Secrets to write once more, and when.

    Args:
        cluster: Tells of missing Secrets.
        ledger: What should be in place.
        inventory: The namespaces.
        clock: Tells the time.
        meter: Counts.
        repair: Queues a write, unless it is of no use any longer.
    """

    def __init__(
        self,
        cluster: Cluster,
        ledger: Ledger,
        inventory: Inventory,
        clock: Clock,
        meter: Meter,
        *,
        repair: Callable[[WriteSecret], None],
    ) -> None:
        self._cluster = cluster
        self._ledger = ledger
        self._inventory = inventory
        self._clock = clock
        self._meter = meter
        self._repair = repair
        self._written: dict[Key, tuple[datetime, timedelta]] = {}
        """When each was last written for this, and the pause after that."""

    async def follow(self) -> None:
        """Watch the kubelet's Events until cancelled."""
        failures = 0
        while True:
            try:
                async for miss in self._cluster.misses():
                    failures = 0
                    self.missed(miss.namespace, miss.note)
                failures = 0
                wait = timedelta(seconds=1)
            except RegcredError as error:
                failures += 1
                refused = isinstance(error, RefusedError)
                wait = (
                    WITHOUT_RIGHT
                    if refused
                    else min(timedelta(seconds=0.1) * 2 ** min(failures, 12), LONGEST_WAIT)
                )
                self._meter.count("watch_failures_total", kind="Event", reason=error.kind)
                log(
                    logging.WARNING, "missing Secrets are not noticed now: a watch failed", problem=str(error)
                )
            await asyncio.sleep(jittered(wait).total_seconds())

    def missed(self, namespace: str, note: str) -> None:
        """A Pod may miss Secrets whose names are in a text."""
        places = self._ledger.places.get(namespace, EMPTY)
        self._write(namespace, [reference for reference in places if reference.secret_name in note])

    def asked(self, workload: Workload) -> None:
        """Somebody has made a workload or changed what it asks for."""
        self._write(workload.namespace, workload.references)

    def put_back(self, asked: set[Reference]) -> None:
        """Write the Secrets of registries that a person had rotated or checked, wherever they should be in place.

        This has no pause: a person asks seldom, and rotate answers each request once.
        """
        if not asked:
            return
        for namespace, places in list(self._ledger.places.items()):
            for reference in asked & places.keys():
                self._repair_one(namespace, reference)

    def _write(self, namespace: str, references: Iterable[Reference]) -> None:
        for reference in references:
            place = self._ledger.place(namespace, reference)
            if place and place.version and self._may_write((namespace, reference)):
                self._repair_one(namespace, reference)

    def _repair_one(self, namespace: str, reference: Reference) -> None:
        itself, place = self._inventory.namespaces.get(namespace), self._ledger.place(namespace, reference)
        if itself is None or itself.terminating or place is None or not place.version:
            return
        self._meter.count("drift_repairs_total")
        self._repair(WriteSecret(namespace, itself.uid, reference, place.version, old=place.version))

    def _may_write(self, key: Key) -> bool:
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
        """Forget what was written long ago."""
        now = self._clock()
        self._written = {key: entry for key, entry in self._written.items() if now - entry[0] < FORGOTTEN}
