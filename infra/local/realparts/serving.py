"""Run an asyncio server until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


def serve(start: Coroutine[Any, Any, None]) -> None:
    """Run `start`, which starts servers and returns, and then wait for SIGTERM or SIGINT."""

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await start
        await stop.wait()

    asyncio.run(run())
