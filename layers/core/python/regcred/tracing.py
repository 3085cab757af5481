"""Traces of one request through all programs, from the request to the Secret. Off until :func:`use`.

While it is off, a span costs one comparison, and no document or message has the field ``traceparent``.
:mod:`regcred.adapters.otlp` sends spans by OpenTelemetry. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from pydantic import BeforeValidator

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""Version 00 of https://www.w3.org/TR/trace-context/#traceparent-header"""

LENGTH = 55
"""The length of a traceparent."""


class Span(Protocol):
    """One step of a trace."""

    @property
    def traceparent(self) -> str:
        """What a later step needs to join the trace; empty while tracing is off."""

    def set(self, **attributes: str) -> None:
        """Add attributes, except empty ones. They are never secret, and never the text of an error."""


class Tracer(Protocol):
    """Records spans."""

    def span(self, name: str, parent: str, attributes: Mapping[str, str]) -> AbstractContextManager[Span]:
        """Record the block as a span.

        Args:
            name: What is done.
            parent: The traceparent of the earlier step. If it is empty, the span that is open in this thread
                or task is the parent; if there is none, a new trace begins.
            attributes: As :meth:`Span.set` takes them.
        """

    def flush(self) -> None:
        """Send the spans that have ended. Never raises, and takes a few seconds at most."""


class _NoSpan:
    traceparent = ""

    def set(self, **attributes: str) -> None:
        """Drop the attributes."""


_OFF = nullcontext(_NoSpan())
_in_use: list[Tracer] = []


def use(tracer: Tracer | None) -> None:
    """Switch tracing on for this process, or off."""
    _in_use[:] = [tracer] if tracer else []


def is_on() -> bool:
    """Whether spans are recorded."""
    return bool(_in_use)


def span(name: str, parent: str = "", **attributes: str) -> AbstractContextManager[Span]:
    """Record the block as a span, if tracing is on; see :meth:`Tracer.span`."""
    return _in_use[0].span(name, parent, attributes) if _in_use else _OFF


def flush() -> None:
    """Send the spans that have ended, if tracing is on."""
    for tracer in _in_use:
        tracer.flush()


def valid(text: object) -> str:
    """A traceparent of version 00, or nothing.

    Tenants can write it. A wrong one is dropped, because nothing but the trace depends on it.
    """
    return text if isinstance(text, str) and len(text) == LENGTH and _TRACEPARENT.fullmatch(text) else ""


DROP_IF_WRONG = BeforeValidator(valid)
"""Marks a field of a document or message that holds a traceparent."""


def same_trace(one: str, other: str) -> bool:
    """Whether two traceparents belong to one trace."""
    return bool(one) and one.split("-")[1:2] == other.split("-")[1:2]
