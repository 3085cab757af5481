"""The table that a benchmark prints: goal, floor, our figure, ratio, and whether the goal holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measurement."""

    what: str
    goal: str
    floor: str
    ours: str
    ratio: float | None
    holds: bool | None
    """None for a figure without a goal."""


@dataclass
class Table:
    """Rows and notes. Each is printed when it is added; :meth:`text` gives the whole table."""

    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        what: str,
        *,
        goal: str = "",
        floor: Any = "",
        ours: Any,
        ratio: float | None = None,
        holds: bool | None = None,
    ) -> None:
        """Add a row and print it."""
        row = Row(what, goal, str(floor), str(ours), ratio, holds)
        self.rows.append(row)
        say(
            f"  {_verdict(row):5} {what}: {ours}"
            + (f" (floor {floor})" if floor else "")
            + (f", ratio {ratio:.2f}" if ratio else "")
        )

    def add_pairs(self, what: str, pairs: list[tuple[float, float]], *, most: float) -> None:
        """Add a row for pairs of measurements (floor, ours) in seconds.

        The goal holds if the median of their ratios is at most `most`.
        """
        ratio = median([ours / floor for floor, ours in pairs])
        self.add(
            what,
            goal=f"<= {most:g} x floor",
            floor=f"{median([floor for floor, _ in pairs]) * 1000:.0f} ms",
            ours=f"{median([ours for _, ours in pairs]) * 1000:.0f} ms",
            ratio=ratio,
            holds=ratio <= most,
        )

    def note(self, text: str) -> None:
        """Add a note below the table, and print it."""
        self.notes.append(text)
        say(f"        {text}")

    @property
    def held(self) -> bool:
        """Whether every goal holds."""
        return all(row.holds is not False for row in self.rows)

    def text(self) -> str:
        """The table in Markdown."""
        lines = ["| what | goal | floor | ours | ratio | holds |", "|---|---|---|---|---|---|"]
        for row in self.rows:
            ratio = f"{row.ratio:.2f}" if row.ratio else ""
            lines.append(
                f"| {row.what} | {row.goal} | {row.floor} | {row.ours} | {ratio} | {_verdict(row)} |"
            )
        return "\n".join([f"### {self.title}", "", *lines, "", *(f"- {note}" for note in self.notes), ""])


def _verdict(row: Row) -> str:
    return {True: "yes", False: "NO", None: ""}[row.holds]


def say(text: str) -> None:
    """Print without buffering."""
    print(text, flush=True)


def median(values: list[float]) -> float:
    """The median (nearest rank)."""
    return percentile(values, 0.5)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that is at least as large as this share of all values (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
