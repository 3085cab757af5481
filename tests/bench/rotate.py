"""`python -m bench.rotate`: measure rotate in the Lambda runtime emulator, next to a floor.

The floor only imports the packages and creates the clients that rotate needs. Cold starts of rotate and of
the floor take turns, on layers with bytecode as `sam build` makes them. They are measured in processor time,
because a cold start waits for nothing. A ratio is the median of the ratios of all rounds. The overhead of a
warm rotation is the wall-clock time in which no network call runs.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from real.cloudside import CloudSide

from bench.table import Table, median, say
from realparts.debian import python313
from realparts.lambda_ import Function
from realparts.stack import Stack
from regcred.vault.records.index import Index
from regcred.vault.records.paths import index_path

ROOT = Path(__file__).resolve().parents[2]
LAYER_MAX = 32.0
"""Megabytes of the zipped layer."""
BUS = "bench"
"""A bus without rules, because moto, unlike EventBridge, delivers to targets before it answers (30 ms)."""

BYTECODE = {"PYTHONPYCACHEPREFIX": "", "PYTHONDONTWRITEBYTECODE": "1"}
"""Read the bytecode in the layers, and write none, as in Lambda."""

OTHERS = ("azure", "google", "msal", "cryptography", "kubernetes", "aiohttp", "yaml", "click")
"""Packages that an AWS-only rotation does not need."""

CLIENTS = """
import boto3
for service in ("ecr", "sts"):
    boto3.client(service)
"""

FLOOR = """
import time
began = time.process_time()
import hvac
from pydantic import BaseModel, SecretStr
{clients}
ready = time.process_time() - began

def handler(event, context):
    return {{"ready": ready}}
"""

OURS = """
import importlib.util, sys, time
began = time.process_time()
spec = importlib.util.spec_from_file_location("rotate_app", {app!r})
app = importlib.util.module_from_spec(spec)
sys.modules["rotate_app"] = app
spec.loader.exec_module(app)
app.rotate()
{clients}
ready = time.process_time() - began

import http.client, resource
from urllib3.connectionpool import HTTPConnectionPool

calls = []

def timed(owner, name):
    call = getattr(owner, name)
    def measured(*args, **kwargs):
        start = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            calls.append((start, time.perf_counter()))
    setattr(owner, name, measured)

def call_seconds():
    total = last = 0.0
    for start, end in sorted(calls):
        total += max(0.0, end - max(start, last))
        last = max(last, end)
    return total

timed(HTTPConnectionPool, "urlopen")
timed(http.client.HTTPResponse, "read")

def handler(event, context):
    calls.clear()
    start = time.perf_counter()
    answer = app.handler(event, context) if event else None
    seconds = time.perf_counter() - start
    return {{
        "ready": ready,
        "answer": answer,
        "seconds": seconds,
        "own": seconds - call_seconds(),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loaded": sorted({{name.partition(".")[0] for name in sys.modules}}),
    }}
"""


class Bench:
    """A stack, layers with bytecode, and functions that measure themselves."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.side = CloudSide(stack)
        stack.aws.client("events").create_event_bus(Name=BUS)
        compiled = []
        for number, layer in enumerate(stack.lambda_.layers()):
            target = folder / f"layer-{number}"
            shutil.copytree(layer, target, ignore=shutil.ignore_patterns("__pycache__"))
            compileall.compile_dir(
                target, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )
            compiled.append(target)
        stack.lambda_.layers = lambda: compiled

    def start(self, name: str, source: str) -> Function:
        """Start a function with this source and with rotate's environment and policy."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        text = source.format(clients=CLIENTS, app=str(ROOT / "functions/rotate/app.py"))
        (folder / "app.py").write_text(text)
        policy = json.dumps(self.side.policies["rotate"]).replace("event-bus/regcred", f"event-bus/{BUS}")
        return self.stack.lambda_.start(
            "rotate",
            self.stack.function_environment("rotate") | {"REGCRED_EVENT_BUS": BUS} | BYTECODE,
            folder=folder,
            instance=f"bench-{name}",
            policy=json.loads(policy),
        )

    def ready(self, name: str, source: str) -> float:
        """Return the processor seconds from the first import until ready, in a new process."""
        answer = self.start(name, source).invoke({})
        self.stack.lambda_.stop(f"bench-{name}")
        return float(answer["ready"])


def cold_starts(bench: Bench, table: Table, rounds: int) -> None:
    """Measure the cold start of rotate and of the floor."""
    bench.ready("floor", FLOOR)
    bench.ready("ours", OURS)
    pairs = [(bench.ready("floor", FLOOR), bench.ready("ours", OURS)) for _ in range(rounds)]
    table.add_pairs("rotate: import to ready, ECR only", pairs, most=1.3)


def warm_rotations(bench: Bench, table: Table, rounds: int) -> None:
    """Measure the overhead of a rotation, the time of ten rotations in one message, and the memory."""
    side = bench.side
    project = side.project("bench")
    names = [f"ecr-{number}" for number in range(10)]
    for name in names:
        side.ecr(f"{project}/{name}")
    function = bench.start("ours", OURS)

    def rotate(count: int) -> dict[str, Any]:
        make_due(side, project)
        answer: dict[str, Any] = function.invoke(side.message(project, **dict.fromkeys(names[:count], "due")))
        assert answer["answer"] == {"batchItemFailures": []}
        return answer

    first = rotate(10)
    extra = [rotate(1)["own"] * 1000 for _ in range(rounds)]
    table.add(
        "one warm rotation, over the sum of its network calls",
        goal="<= 15 ms",
        ours=f"{median(extra):.1f} ms",
        holds=median(extra) <= 15,
    )
    bench.stack.aws.fault("GetAuthorizationToken", "delay", seconds=0.2)
    try:
        pairs = [(rotate(1)["seconds"], rotate(10)["seconds"]) for _ in range(rounds)]
    finally:
        bench.stack.aws.clear_faults()
    # The minimum, because other processes on the machine only add time.
    one, ten = min(one for one, _ in pairs), min(ten for _, ten in pairs)
    table.add(
        "a project of 10 registries due, vendors at 200 ms",
        goal="<= 1.5 x one",
        floor=f"{one * 1000:.0f} ms",
        ours=f"{ten * 1000:.0f} ms",
        ratio=ten / one,
        holds=ten / one <= 1.5,
    )
    last = rotate(10)
    table.add(
        "memory of rotate, peak",
        goal="<= 128 MB",
        ours=f"{last['megabytes']:.0f} MB",
        holds=last["megabytes"] <= 128,
    )
    loaded = sorted(set(OTHERS) & set(first["loaded"]))
    table.add(
        "packages of other vendors loaded", goal="none", ours=", ".join(loaded) or "none", holds=not loaded
    )
    bench.stack.lambda_.stop("bench-ours")


def make_due(side: CloudSide, project: str) -> None:
    """Set the refresh time of all registries of a project to now."""
    found = side.store.index(project)
    if found:
        now = datetime.now(UTC)
        entries = found.value.registries.items()
        due = Index(
            registries={name: entry.model_copy(update={"refresh_at": now}) for name, entry in entries}
        )
        side.store._kv.write(index_path(project), due.fields(), cas=found.version)


def sizes(table: Table, folder: Path) -> None:
    """Measure the zipped layer of third-party packages, for all vendors and for AWS alone."""
    for flavour, what in (("", "all vendors"), ("aws", "AWS alone")):
        target = folder / f"deps-{flavour}"
        target.mkdir()
        environment = os.environ | {
            "REGCRED_VENDORS": flavour,
            "PYTHON313": str(python313()),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        command = ["make", "--silent", "-C", ROOT / "layers", "build-DepsLayer", f"ARTIFACTS_DIR={target}"]
        subprocess.run(command, env=environment, check=True)
        size = Path(shutil.make_archive(str(target), "zip", target)).stat().st_size / 1e6
        with_bytecode = any(target.rglob("*.pyc"))
        table.add(
            f"deps layer zipped, {what}"
            + ("" if with_bytecode else " (without bytecode: no Python 3.13 here)"),
            goal="" if flavour else f"<= {LAYER_MAX:.0f} MB",
            ours=f"{size:.1f} MB",
            holds=None if flavour else size <= LAYER_MAX,
        )


@contextmanager
def bench() -> Iterator[Bench]:
    """Start a separate stack, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="regcred-bench-") as name:
        stack = Stack(Path(name) / "stack")
        try:
            say(f"up: {', '.join(stack.up(['vault', 'aws', 'registry', 'lambda']))}")
            yield Bench(stack, Path(name))
        finally:
            stack.down()


def main() -> int:
    """Measure and return the exit code: 0 if every goal is met."""
    parser = argparse.ArgumentParser(prog="python -m bench.rotate", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="number of rounds of each measurement")
    options = parser.parse_args()
    table = Table("Rotate in the Lambda emulator")
    sys.pycache_prefix = None  # write the bytecode into the layers
    with bench() as here:
        sizes(table, here.folder)
        cold_starts(here, table, options.rounds)
        warm_rotations(here, table, options.rounds)
    say("\n" + table.text())
    return 0 if table.held else 1


if __name__ == "__main__":
    sys.exit(main())
