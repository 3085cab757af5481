"""The threads in which sync calls Vault."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from regcred.errors import RegcredError
from regcred.sync.metrics import Meter

P = ParamSpec("P")
T = TypeVar("T")


class VaultThreads:
    """Threads for all blocking calls to Vault, so that a call that hangs does not block the others.

    Args:
        meter: Counts and times the calls.
    """

    def __init__(self, meter: Meter) -> None:
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="vault")
        self._meter = meter

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call in a thread and wait for its result. Raises the call's errors."""
        started = time.monotonic()
        outcome = "ok"
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: call(*args, **kwargs)
            )
        except RegcredError as error:
            outcome = error.kind
            raise
        finally:
            self._meter.count("vault_requests_total", operation=call.__name__, outcome=outcome)
            self._meter.time("vault_request_seconds", time.monotonic() - started, operation=call.__name__)

    def close(self) -> None:
        """End the threads after their current calls."""
        self._threads.shutdown(wait=False, cancel_futures=True)
