"""What one call of a vendor may take: time in all, and bytes. Pure, but for the clock.

A time-out of a socket bounds the wait for the next bytes only, so a server that sends one byte each second keeps a caller
for ever, in the headers as well as in the body. Here one deadline covers the whole call, whatever comes: connecting,
the TLS handshake, `100 Continue`, headers, chunk extensions, the body and trailers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

CALL_SECONDS = 30.0
"""The most that one call may take in all; less if the caller has less time left, see :func:`one_call`."""

WAIT_SECONDS = 15.0
"""How long the next bytes may take."""

HEAD_MAX = 64 * 1024
"""The most bytes of headers that are read, those of `100 Continue` included; vendors send some kB."""

WIRE_MAX = 3 * 1024 * 1024
"""The most bytes that are read for one answer in all: framing by chunks can be larger than what it frames."""


class TooLargeError(OSError):
    """A server sent more than :data:`HEAD_MAX` or :data:`WIRE_MAX`."""


@dataclass(slots=True)
class Budget:
    """What is left of one call. Its clock is monotonic."""

    until: float
    allowed: float = CALL_SECONDS
    """The time it had in all, in seconds."""
    head_left: int = HEAD_MAX
    left: int = WIRE_MAX
    in_head: bool = False

    @property
    def seconds(self) -> float:
        """The time that is left, in seconds; 0 if none is."""
        return max(0.0, self.until - time.monotonic())

    def take(self, count: int) -> None:
        """Count bytes that have come.

        Raises:
            TooLargeError: They are more than one answer may have.
        """
        self.left -= count
        if self.in_head:
            self.head_left -= count
        if self.left < 0 or self.head_left < 0:
            raise TooLargeError("the answer is too large")


_current: ContextVar[Budget | None] = ContextVar("regcred_call", default=None)


def current() -> Budget | None:
    """The budget of the call that this thread is making; None outside of one."""
    return _current.get()


@contextmanager
def one_call(seconds: float | None = None) -> Iterator[Budget]:
    """Bound everything that is sent and received inside of the block by one deadline.

    A block inside another one never gets more time than that one has left; the bytes are counted for each by itself.

    Args:
        seconds: How long it may take; :data:`CALL_SECONDS` if it is not given.
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
