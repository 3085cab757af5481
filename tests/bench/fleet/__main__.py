"""`python -m bench.fleet --registries 10000 --days 7`."""

from __future__ import annotations

import argparse

import bench.fleet
from bench.fleet.result import Result
from bench.fleet.simulation import Fleet
from bench.fleet.time import START
from bench.table import say


def simulate(registries: int, days: float, *, seed: int = 1, progress: bool = False) -> Result:
    """Simulate a fleet with outages of Vault and of all vendors."""
    fleet = Fleet(registries, seed=seed)
    fleet.plan_outages(days)
    if progress:
        fleet.watch = lambda at: say(f"  day {(at - START).days}") if at.hour + at.minute == 0 else None
    return fleet.run(days)


def main() -> int:
    """Run the simulation; return 1 if a credential expired although it could have been renewed."""
    parser = argparse.ArgumentParser(description=bench.fleet.__doc__)
    parser.add_argument("--registries", type=int, default=10_000)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    result = simulate(arguments.registries, arguments.days, seed=arguments.seed, progress=True)
    print("\n".join([*result.lines(), *result.expired[:20]]))
    return int(bool(result.expired))


if __name__ == "__main__":
    raise SystemExit(main())
