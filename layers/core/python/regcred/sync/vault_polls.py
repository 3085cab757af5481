"""Decides when to read each document in Vault: at intervals, and at once when Vault reports a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

from regcred.clock import Clock
from regcred.sync.jitter import jittered
from regcred.sync.pace import Pace
from regcred.sync.vault_sources import Sources

GRANTS = ""
"""The key of the grants among the polled documents."""

SIGNAL = "*"
"""The key of the signal that a credential was ended."""

SOON_AFTER = timedelta(minutes=15)
"""How long after the refresh time of a credential its index is polled more often. Dispatch runs every few
minutes."""


class Polls:
    """Polls the grants, the signal and the index of each project in use.

    Args:
        sources: Reads the documents.
        clock: Returns the time.
        pace: The intervals.
        cluster: The cluster's name in Vault.
        changed: Called when a document has changed.
    """

    def __init__(
        self, sources: Sources, clock: Clock, pace: Pace, cluster: str, *, changed: Callable[[], None]
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._pace = pace
        self._cluster = cluster
        self._changed = changed
        self._poll_at: dict[str, datetime] = {}
        self._poll_now = asyncio.Event()

    def start_new(self) -> None:
        """Start to poll the projects that have come into use."""
        if self._unpolled():
            self._poll_now.set()

    def _unpolled(self) -> set[str]:
        return self._sources.projects.keys() - self._poll_at.keys()

    async def run(self) -> None:
        """Poll until cancelled."""
        for name in (GRANTS, SIGNAL):
            self._poll_at[name] = self._clock() + self._interval(name)
        await self._sources.look_at_signal()
        while True:
            now = self._clock()
            for project in self._unpolled():
                self._poll_at[project] = now + self._interval(project)
            due = [name for name, at in self._poll_at.items() if at <= now]
            if any(await asyncio.gather(*(self._look_at(name) for name in due))):
                self._changed()
            wait = (min(self._poll_at.values()) - self._clock()).total_seconds()
            try:
                async with asyncio.timeout(max(wait, 0.05)):
                    await self._poll_now.wait()
            except TimeoutError:
                pass
            self._poll_now.clear()

    async def _look_at(self, name: str) -> bool:
        if name == SIGNAL:
            await self._look_at_signal()
            return False
        if name != GRANTS and name not in self._sources.projects:
            del self._poll_at[name]
            return False
        changed = await (self._sources.look_at(name) if name else self._sources.look_at_grants())
        self._poll_at[name] = self._clock() + self._interval(name)
        return changed

    async def _look_at_signal(self) -> None:
        ended = await self._sources.look_at_signal()
        now = self._clock()
        self._poll_at |= dict.fromkeys(ended & self._poll_at.keys(), now)
        self._poll_at[SIGNAL] = now + self._interval(SIGNAL)

    def _interval(self, name: str) -> timedelta:
        if name in {GRANTS, SIGNAL}:
            return jittered(min(self._pace.poll_soon, self._pace.poll), 0.2)
        now = self._clock()
        project = self._sources.projects.get(name)
        expected = project and any(
            registry.refresh_at
            and registry.refresh_at - self._pace.poll <= now <= registry.refresh_at + SOON_AFTER
            for registry in project.registries.values()
        )
        return jittered(self._pace.poll_soon if expected else self._pace.poll, 0.2)

    async def listen(self, changes: AsyncIterator[str]) -> None:
        """Poll each document at once that Vault reports as changed. Runs until cancelled.

        Args:
            changes: The paths of written documents, and an empty path when changes may have been missed.
        """
        async for path in changes:
            now = self._clock()
            names = documents_of(path, self._cluster) if path else set(self._poll_at)
            for name in names & self._poll_at.keys():
                self._poll_at[name] = now
            self._poll_now.set()


def documents_of(path: str, cluster: str) -> set[str]:
    """The polled document of a changed path in the mount: a project's name, or :data:`GRANTS`."""
    match path.split("/"):
        case [*_, "platform", "clusters", name] if name == cluster:
            return {GRANTS}
        case [*_, "credentials", project, "_index"]:
            return {project}
    return set()
