"""Limits the total time and the bytes of one call to a vendor. Pure, but for the clock.

A socket's time-out only limits the wait for the next bytes. A server that sends one byte each second could
block a caller forever, in the headers or in the body. So one deadline covers the whole call: the connection,
the TLS handshake, `100 Continue`, headers, chunk extensions, the body and trailers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

CALL_SECONDS = 30.0
"""The maximum total time of one call. It is less if the caller has less time left; see :func:`one_call`."""

WAIT_SECONDS = 15.0
"""How long to wait for the next bytes."""

HEAD_MAX = 64 * 1024
"""The maximum bytes of headers, including `100 Continue`. Vendors send a few kB."""

WIRE_MAX = 3 * 1024 * 1024
"""The maximum bytes of a response in total. Chunk framing can be larger than the content."""


class ResponseTooLargeError(OSError):
    """A server sent more than :data:`HEAD_MAX` or :data:`WIRE_MAX` bytes."""


@dataclass(slots=True)
class Budget:
    """The remaining budget of one call. Its clock is monotonic."""

    until: float
    allowed: float = CALL_SECONDS
    """The total time in seconds."""
    head_left: int = HEAD_MAX
    left: int = WIRE_MAX
    in_head: bool = False

    @property
    def seconds(self) -> float:
        """The remaining time in seconds; 0 if none is left."""
        return max(0.0, self.until - time.monotonic())

    def take(self, count: int) -> None:
        """Count received bytes.

        Raises:
            ResponseTooLargeError: The limit is exceeded.
        """
        self.left -= count
        if self.in_head:
            self.head_left -= count
        if self.left < 0 or self.head_left < 0:
            raise ResponseTooLargeError("the response is too large")


_current: ContextVar[Budget | None] = ContextVar("regcred_call", default=None)


def current() -> Budget | None:
    """The budget of this thread's current call; None outside of a call."""
    return _current.get()


@contextmanager
def one_call(seconds: float | None = None) -> Iterator[Budget]:
    """Limit everything that is sent and received in the block by one deadline.

    A nested block never gets more time than the outer block has left. Each block counts its bytes separately.

    Args:
        seconds: The maximum time; :data:`CALL_SECONDS` by default.
    """
    outer = _current.get()
    allowed = CALL_SECONDS if seconds is None else seconds
    if outer is not None:
        allowed = min(allowed, outer.seconds)
    budget = Budget(time.monotonic() + allowed, allowed)
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)
