"""What sync measures: the interface of the meter, and one that forgets. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Meter(Protocol):
    """Receives what sync measures; names are those of the metrics without the prefix ``regcred_``."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Add a duration to a histogram."""

    def replace(self, name: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        """Set all of a gauge's series; those that are not named end."""


class Unmeasured:
    """A :class:`Meter` that forgets."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Forget it."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Forget it."""

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Forget it."""

    def replace(self, name: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        """Forget it."""
