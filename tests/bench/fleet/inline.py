"""A replacement for thread pools that uses no threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Self
from unittest.mock import patch

import regcred.dispatch.sweep
import regcred.rotate.rotate_project
from regcred.errors import RegcredError


class Inline:
    """Runs each call at once: always in the same order, and faster than threads if no call waits."""

    def __init__(self, *, max_workers: int) -> None:
        del max_workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return

    def submit(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the call, and return its finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **kwargs))
        except RegcredError as error:
            future.set_exception(error)
        return future

    def map(self, call: Callable[..., Any], *items: Iterable[Any]) -> list[Any]:
        """Run the calls, and return their results."""
        return list(map(call, *items))


@contextmanager
def inline() -> Iterator[None]:
    """Let dispatch and rotate work without threads."""
    with (
        patch.object(regcred.dispatch.sweep, "ThreadPoolExecutor", Inline),
        patch.object(regcred.rotate.rotate_project, "ThreadPoolExecutor", Inline),
    ):
        yield
