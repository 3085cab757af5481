"""The metrics of sync: the interface of the meter, and a meter that discards everything. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Meter(Protocol):
    """Receives measurements. The names are those of the metrics without the prefix ``regcred_``."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Add a duration to a histogram."""

    def replace(self, name: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        """Set all series of a gauge. Series that are not in ``samples`` end."""


class Unmeasured:
    """A :class:`Meter` that discards everything."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Discard it."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Discard it."""

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Discard it."""

    def replace(self, name: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        """Discard it."""
