"""Decides when to run a pass: at once for namespaces that changed, and at intervals for all namespaces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

from regcred.cluster.model import SERVICE_ACCOUNT
from regcred.sync.engine import Engine
from regcred.sync.jitter import jittered
from regcred.sync.pace import Pace

LOOK = timedelta(seconds=0.02)
"""How often to check whether the first lists are complete."""


class PassScheduler:
    """Runs the passes of an engine.

    Args:
        engine: Plans and applies.
        pace: The intervals.
    """

    def __init__(self, engine: Engine, pace: Pace) -> None:
        self._engine = engine
        self._pace = pace
        self._review_at = engine.clock()
        self._passed_at = time.monotonic()

    async def run(self, *, then: Callable[[], None]) -> None:
        """Run passes until cancelled.

        Args:
            then: Called after each pass.
        """
        await self._await_first_lists()
        while True:
            await self._await_work()
            engine = self._engine
            engine.touch(engine.retries.due())
            now = engine.clock()
            everything = now >= self._review_at
            scope = None if everything else set(engine.touched)
            engine.touched.clear()
            engine.awake.clear()
            if everything:
                self._review_at = now + jittered(self._pace.review, 0.2)
                engine.demand.drop_unused()
            if everything or scope:
                plan = await engine.reconcile(scope)
                if plan.starts_grace:
                    self._review_at = min(self._review_at, now + engine.options.rules.grace)
                self.beat()
                then()

    async def _await_first_lists(self) -> None:
        """Wait for the first lists, so that one pass is enough after a start.

        The wait is limited, because a kind may be impossible to list.
        """
        inventory = self._engine.inventory
        for _ in range(int(self._pace.first_lists / LOOK)):
            accounts = SERVICE_ACCOUNT not in self._engine.kinds() or inventory.accounts_known
            if inventory.complete and accounts:
                return
            await asyncio.sleep(LOOK.total_seconds())

    async def _await_work(self) -> None:
        times = [self._review_at, self._engine.retries.next() or self._review_at]
        wait = (min(times) - self._engine.clock()).total_seconds()
        try:
            async with asyncio.timeout(max(wait, 0.0)):
                await self._engine.awake.wait()
        except TimeoutError:
            return

    @property
    def alive(self) -> bool:
        """Whether a pass has ended within the last five review intervals and a minute."""
        return time.monotonic() - self._passed_at < 5 * self._pace.review.total_seconds() + 60

    def beat(self) -> None:
        """Record that passes are running, or that there is a known reason to wait."""
        self._passed_at = time.monotonic()

    def review_now(self) -> None:
        """Make the next pass check all namespaces, and start it."""
        self._review_at = self._engine.clock()
        self._engine.awake.set()
