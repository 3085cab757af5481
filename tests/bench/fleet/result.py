"""The result of a simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class Result:
    """The result of a simulation: counts by vendor in `calls`, `throttled`, `down` and `peak`."""

    registries: int
    days: float
    rotations: int
    expired: list[str]
    """Credentials that expired although they could have been renewed. The goal is none."""
    excused: int
    """Credentials that expired because their vendor or Vault was unreachable for too long."""
    calls: Mapping[str, int]
    throttled: Mapping[str, int]
    down: Mapping[str, int]
    peak: Mapping[str, int]
    queue: Mapping[str, int]
    seconds: float

    def lines(self) -> list[str]:
        """The result as lines of text."""
        lines = [
            (
                f"{self.registries} registries, {self.days:g} days: {self.rotations} rotations in "
                f"{self.seconds:.0f} s"
            ),
            f"expired though reachable: {len(self.expired)}; expired in long outages: {self.excused}",
            f"messages: {dict(self.queue)}",
        ]
        lines += [
            f"{name:8} {self.calls[name]:8} calls, {self.down.get(name, 0):6} in outages, "
            f"{self.throttled.get(name, 0):6} throttled, at most {self.peak.get(name, 0)} calls per "
            "second for each account"
            for name in sorted(self.calls)
        ]
        return lines
