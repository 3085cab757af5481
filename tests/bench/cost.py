"""`python -m bench.cost`: what the serverless side costs in a month, from durations and list prices;
docs/cost.md shows it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import exp

MONTH_SECONDS = 30 * 86400
SWEEP_SECONDS = 300

GB_SECOND = 0.0000133334
"""Lambda on arm64."""
REQUEST = 0.20 / 1e6
"""A Lambda request."""
SQS_FIFO = 0.50 / 1e6
"""A request to a FIFO queue."""
EVENT = 1.00 / 1e6
"""A custom event."""
SCHEDULE = 1.00 / 1e6
"""A scheduled invocation."""
LOG_GB = 0.50
"""Logs taken in; keeping them for a month adds 0.03 per GB."""
METRIC = 0.30
"""A custom metric for a month."""
ALARM_METRIC = 0.10
"""A metric that an alarm looks at."""

METRICS = 14
ALARM_METRICS = 11


@dataclass(frozen=True)
class Load:
    """What is assumed of a fleet, and was measured of the functions."""

    registries: int
    per_project: int = 20
    refresh_seconds: float = 0.475 * 12 * 3600
    """Between two rotations of one registry: ECR's 12 hours, refreshed at 45 to 50 % of them."""
    memory_gb: float = 0.5
    sweep_seconds: float = 1.0
    """A sweep without projects, cold starts spread over it."""
    sweep_seconds_per_project: float = 0.006
    """Three reads in Vault by eight threads at 15 ms each."""
    message_seconds: float = 0.4
    """One registry with a vendor of 200 ms, at the share of a processor that 512 MB has."""
    registry_seconds: float = 0.05
    """Each further registry of a message."""
    log_bytes_message: int = 900
    """START, END, REPORT and the metrics' line."""
    log_bytes_registry: int = 450
    pollers: int = 5
    """Lambda's own, which ask an empty queue every 20 s each."""


@dataclass(frozen=True)
class Bill:
    """A month in US dollars, by part."""

    rotations: float
    messages: float
    dispatch: float
    rotate: float
    queue: float
    events: float
    logs: float
    metrics: float

    @property
    def total(self) -> float:
        return self.dispatch + self.rotate + self.queue + self.events + self.logs + self.metrics


def bill(load: Load) -> Bill:
    """The month's bill of a fleet; free tiers are left out."""
    sweeps = MONTH_SECONDS / SWEEP_SECONDS
    projects = max(1, load.registries / load.per_project)
    rotations = load.registries * MONTH_SECONDS / load.refresh_seconds
    due = rotations / sweeps / projects
    messages = sweeps * projects * (1 - exp(-due))  # a project sends one if any of its registries is due
    sweep_seconds = load.sweep_seconds + load.sweep_seconds_per_project * projects
    rotate_seconds = messages * load.message_seconds + (rotations - messages) * load.registry_seconds
    polls = load.pollers * MONTH_SECONDS / 20
    log_gb = ((messages + sweeps) * load.log_bytes_message + rotations * load.log_bytes_registry) / 1e9
    return Bill(
        rotations=rotations,
        messages=messages,
        dispatch=sweeps * (sweep_seconds * load.memory_gb * GB_SECOND + REQUEST + SCHEDULE),
        rotate=rotate_seconds * load.memory_gb * GB_SECOND + messages * REQUEST,
        queue=(polls + messages * 2.2) * SQS_FIFO,
        events=rotations * EVENT,
        logs=log_gb * LOG_GB,
        metrics=METRICS * METRIC + ALARM_METRICS * ALARM_METRIC,
    )


def main() -> int:
    """Print the table of docs/cost.md."""
    print(
        "| registries | rotations | messages | dispatch | rotate | queue | events | logs | metrics, alarms "
        "| **a month** |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for count in (10, 1_000, 10_000):
        found = bill(Load(count))
        parts = (found.dispatch, found.rotate, found.queue, found.events, found.logs, found.metrics)
        amounts = " | ".join(f"${part:.2f}" for part in parts)
        print(
            f"| {count:,} | {found.rotations:,.0f} | {found.messages:,.0f} | {amounts} | "
            f"**${found.total:.2f}** |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
