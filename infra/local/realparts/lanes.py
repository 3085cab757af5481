"""`python -m realparts.lanes`: runs all tests, those that need servers in two lanes at the same time.

The unit tests run first, on all processors, on this Python and on Python 3.13. The first of these runs
measures the branches of the pure modules (pure_modules.py), and fails if too few are covered. Then each lane
runs pytest on real parts of its own, in a folder of its own, and searches its own logs for secrets. Every
folder in `tests` belongs to a lane: the last lane runs the folders that no other lane names. Each line of
output begins with the name of its run, and a file keeps the whole output of a run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .build import LOCAL, BuildError, say
from .pure_modules import coverage_options
from .python313 import environment_python, environment_variables

ROOT = LOCAL.parents[1]
FOLDER = "REGCRED_TEST_FOLDER"
"""The variable with the folder of the real parts that the tests of a run start (tests/conftest.py)."""

SERVERS = ("infra", "contract", "edges", "browser")
"""The folders of tests for the first lane. The second lane runs all others, also those on a node."""

APART = tuple(
    f"tests/real/test_{name}.py"
    for name in (
        "artifact",
        "cli_waiting",
        "disasters",
        "fleet_files",
        "gitea",
        "image",
        "kubernetes_versions",
        "lambda",
        "sync",
        "system_lambda",
    )
)
"""Files for the first lane whose folder belongs to the second one. So both lanes take about the same time."""

LOGS = "tests/real/test_logs.py"
"""The last file of each run on servers."""


@dataclass(frozen=True)
class Run:
    """One run of pytest: its name, its arguments, its Python, and the folder of its real parts."""

    name: str
    arguments: Sequence[str]
    on_python313: bool = False
    folder: str = ".test"

    def command(self) -> list[str]:
        """Return the command.

        Raises:
            BuildError: Python 3.13 could not be installed.
        """
        python = environment_python() if self.on_python313 else Path(sys.executable)
        return [str(python), "-m", "pytest", *self.arguments]

    def environment(self) -> dict[str, str]:
        """Return the variables of the process."""
        own = environment_variables() if self.on_python313 else dict(os.environ)
        return own | {FOLDER: self.folder, "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run."""

    run: Run
    code: int
    seconds: float
    summary: Sequence[str]
    """Its failures, skipped tests and last line, from pytest's output."""


def units() -> list[Run]:
    """Return the runs of the unit tests, which use all processors, in order."""
    arguments = ("tests/unit", "-n", "auto")
    return [
        Run("unit", (*arguments, *coverage_options())),
        Run("unit on 3.13", arguments, on_python313=True),
    ]


def lanes(tests: Path) -> list[list[Run]]:
    """Return the lanes, which run at the same time. Each lane is a list of runs in order.

    Args:
        tests: The folder `tests` of the checkout. Each folder with tests belongs to exactly one lane.
    """
    folders = sorted({path.relative_to(tests).parts[0] for path in tests.rglob("test_*.py")})
    others = [name for name in folders if name not in (*SERVERS, "unit")]
    apart = [f"--ignore={file}" for file in APART]
    durations = "--durations=40"
    return [
        [
            Run(
                "servers",
                (*(f"tests/{name}" for name in SERVERS), *APART, LOGS, durations),
                folder=".test-servers",
            ),
            Run("contract on 3.13", ("tests/contract", LOGS), on_python313=True, folder=".test-servers"),
        ],
        [Run("real", (*(f"tests/{name}" for name in others), *apart, durations))],
    ]


def perform(run: Run, output: Path) -> Outcome:
    """Run pytest, print its lines with the name of the run, and write them to a file."""
    began = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    try:
        process = subprocess.Popen(
            run.command(),
            cwd=ROOT,
            env=run.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except (BuildError, OSError) as error:
        return Outcome(run, 1, time.monotonic() - began, [str(error)])
    assert process.stdout
    with (output / f"{run.name.replace(' ', '-')}.log").open("w") as file:
        for line in process.stdout:
            lines.append(line.rstrip())
            file.write(line)
            _print(run.name, line.rstrip())
    return Outcome(run, process.wait(), time.monotonic() - began, _summary(lines))


def _summary(lines: Sequence[str]) -> list[str]:
    """Return pytest's short summary: failures, errors, skipped tests, and the counts.

    The coverage comes first.
    """
    heads = [number for number, line in enumerate(lines) if "short test summary info" in line]
    coverage = [line for line in lines if "Required test coverage of" in line]
    return [*coverage, *(lines[heads[-1] + 1 :] if heads else lines[-1:])]


_printing = threading.Lock()


def _print(name: str, line: str) -> None:
    with _printing:
        say(f"[{name}] {line}" if line else f"[{name}]")


def _lane(runs: Sequence[Run], output: Path) -> list[Outcome]:
    return [perform(run, output) for run in runs]


def report(outcomes: Sequence[Outcome]) -> int:
    """Print the outcome of each run, and return the exit code: 0 if all passed."""
    say("")
    for outcome in outcomes:
        verdict = "passed" if outcome.code == 0 else f"FAILED (exit code {outcome.code})"
        say(f"{outcome.run.name}: {verdict} after {outcome.seconds / 60:.1f} min")
        for line in outcome.summary:
            say(f"    {line}")
    return 0 if all(outcome.code == 0 for outcome in outcomes) else 1


def plan_text(first: Sequence[Run], beside: Sequence[Sequence[Run]], output: Path) -> str:
    """Return a description of the runs."""
    steps = [f"  {run.name}" for run in first]
    steps += [f"  side by side: {' | '.join(', then '.join(run.name for run in lane) for lane in beside)}"]
    return "\n".join(["Tests to run, in this order:", *steps, f"The output of each run is kept in {output}."])


def main() -> int:
    """Run everything, and return the exit code."""
    began = time.monotonic()
    output = ROOT / ".test-output"
    first, beside = units(), lanes(ROOT / "tests")
    say(plan_text(first, beside, output))
    try:
        outcomes = _lane(first, output)
        with ThreadPoolExecutor() as pool:
            for ended in [pool.submit(_lane, runs, output) for runs in beside]:
                outcomes += ended.result()
    except KeyboardInterrupt:
        say("\nInterrupted.")
        return 130
    code = report(outcomes)
    say(
        f"All tests {'passed' if code == 0 else 'ended, with failures,'} after "
        f"{(time.monotonic() - began) / 60:.1f} min."
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
