"""Events that an earlier process of sync has written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Set as AbstractSet

from regcred.cluster.interface import Cluster
from regcred.errors import RegcredError, TransientError
from regcred.sync.logging import log


class EarlierEvents:
    """The names of the Events with one reason. They are read from the cluster once, when first needed.

    This process writes all later Events with this reason, and remembers them.

    Args:
        cluster: The cluster's API.
        reason: The reason of the Events.
    """

    def __init__(self, cluster: Cluster, reason: str) -> None:
        self._cluster = cluster
        self._reason = reason
        self._names: AbstractSet[str] | None = None
        self._reading = asyncio.Lock()

    async def names(self) -> AbstractSet[str]:
        """The names; none if our account may not list Events.

        Raises:
            TransientError: they can't be read now.
        """
        async with self._reading:
            if self._names is None:
                self._names = await self._read()
            return self._names

    async def _read(self) -> AbstractSet[str]:
        try:
            return await self._cluster.event_names(self._reason)
        except TransientError:
            raise
        except RegcredError as error:
            log(logging.WARNING, "the Events of an earlier process can't be read", problem=str(error))
            return frozenset()
