"""Starts dispatch, as EventBridge Scheduler and the rule for nudges do in AWS.

moto stores schedules but never runs them, and its rules reach only queues. So this program invokes the
function at each full interval, and with the detail of every event in the queue of nudges.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from typing import Any

from .trigger import Trigger


class Schedule:
    """Starts dispatch on time and at nudges."""

    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger
        self._due = 0.0

    def run(self) -> None:
        """Start dispatch until the process is ended."""
        self._trigger.run(self._round, doing=f"every {self._trigger.config['seconds']} s, and at a nudge")

    def _round(self) -> None:
        seconds = self._trigger.config["seconds"]
        if time.time() >= self._due:
            self._due = (time.time() // seconds + 1) * seconds
            scheduled = dt.datetime.fromtimestamp(self._due - seconds, dt.UTC)
            self._invoke({"time": scheduled.strftime("%Y-%m-%dT%H:%M:%SZ")})
        for message in self._trigger.receive():
            self._trigger.delete(message)
            self._invoke(json.loads(message["Body"])["detail"])

    def _invoke(self, event: dict[str, Any]) -> None:
        answer = self._trigger.invoke(event)
        print(f"{json.dumps(event)}: {json.dumps(answer)[:300]}", flush=True)


def main() -> None:
    """Run `python -m realparts.schedule CONFIG`."""
    Schedule(Trigger.of_command_line()).run()


if __name__ == "__main__":
    main()
