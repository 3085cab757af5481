"""`python -m bench.cost`: compute the monthly cost of the serverless side from durations and list prices.

docs/cost.md shows the result.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import exp

MONTH_SECONDS = 30 * 86400
SWEEP_SECONDS = 300

GB_SECOND = 0.0000133334
"""US dollars, as all prices here: a GB-second of Lambda on arm64."""
REQUEST = 0.20 / 1e6
"""A Lambda request."""
SQS_FIFO = 0.50 / 1e6
"""A request to a FIFO queue."""
EVENT = 1.00 / 1e6
"""A custom event."""
SCHEDULE = 1.00 / 1e6
"""A scheduled invocation."""
LOG_GB = 0.50
"""A GB of ingested logs. Storage for a month adds 0.03."""
METRIC = 0.30
"""A custom metric for a month."""
ALARM_METRIC = 0.10
"""A metric of an alarm, for a month."""

METRICS = 14
ALARM_METRICS = 11


@dataclass(frozen=True)
class Load:
    """The assumptions about a fleet, and the measured durations of the functions."""

    registries: int
    per_project: int = 20
    refresh_seconds: float = 0.475 * 12 * 3600
    """Between two rotations of a registry: ECR's logins live 12 hours and are refreshed at 45 to 50 %."""
    memory_gb: float = 0.5
    sweep_seconds: float = 1.0
    """A sweep without projects, with its share of the cold starts."""
    sweep_seconds_per_project: float = 0.006
    """Three Vault reads of 15 ms each, in eight threads."""
    message_seconds: float = 0.4
    """A message with one registry, with a vendor that takes 200 ms, at 512 MB of memory."""
    registry_seconds: float = 0.05
    """Each further registry of a message."""
    log_bytes_message: int = 900
    """The lines START, END and REPORT, and the line with the metrics."""
    log_bytes_registry: int = 450
    pollers: int = 5
    """Lambda's pollers. Each polls an empty queue every 20 s."""


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
    """Compute the bill of a fleet for a month, without free tiers."""
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
