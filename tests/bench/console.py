"""`python -m bench.console`: measure the time and size of the console's pages, and its cold start."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import requests
from pydantic import SecretStr

from bench.process import Cost
from bench.table import Table, median, percentile, say
from console import seed, serving
from realparts.vault import Vault, temporary_vault
from regcred.registry_reference import Reference
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin
from regcred.vault.records.declared import Definition, ProjectPolicy
from regcred.vault.records.index import IndexEntry
from regcred.vault.records.index import State as Outcome
from regcred.vault.records.status import Placement, Status
from regcred.vault.store import Store

CLUSTERS = 20
GOALS = {1_000: 100.0, 10_000: 300.0}
"""For each number of registries, the goal for the 95th percentile of warm pages, in milliseconds."""

SIZE_MAX = 60_000
"""Bytes of a page with its stylesheets and scripts."""
COLD_MAX = 1.3
"""Times the floor."""
PROJECT_SIZE = 500
"""The most registries of one project."""

FRAMEWORK = (
    "import starlette.applications, starlette.routing, jinja2, mangum, cryptography.fernet, hvac; "
    "from pydantic import AwareDatetime, BaseModel, Field, SecretStr, field_serializer, model_validator"
)
OURS = "import mangum; from regcred.wiring.console.deployed import on_lambda; on_lambda()"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--registries", type=int, nargs="*", default=list(GOALS))
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    held = cold()
    for registries in given.registries:
        held = pages(registries, given.rounds) and held
    return 0 if held else 1


def cold() -> bool:
    """Measure the cold start and, in turn, the import of the framework alone.

    Both use bytecode, as the deployed layers do. Both are processor time, which other programs disturb least.
    """
    table = Table("Console: cold start")
    floor, ours = [], []
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {**os.environ, "REGCRED_VAULT_ADDR": "https://vault.example.com:8200"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = bytecode
        for code in (FRAMEWORK, OURS):
            processor_time(code, environment)
        for _ in range(11):
            for code, times in ((FRAMEWORK, floor), (OURS, ours)):
                times.append(processor_time(code, environment) * 1000)
    best_floor, best = min(floor), min(ours)  # disturbances only add time
    ratio = best / best_floor
    table.add(
        "processor time from process start to a console that can answer, ms",
        goal=f"<= {COLD_MAX} x floor",
        floor=f"{best_floor:.0f}",
        ours=f"{best:.0f}",
        ratio=ratio,
        holds=ratio <= COLD_MAX,
    )
    say(table.text())
    return table.held


def processor_time(code: str, environment: dict[str, str]) -> float:
    """Return the processor seconds that Python takes to start and to run this code."""
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"python ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def pages(registries: int, rounds: int) -> bool:
    """Measure warm pages of a fleet, as a platform admin sees it."""
    table = Table(f"Console: {registries:,} registries, {CLUSTERS} clusters")
    with vault() as server:
        store = Store(connect(Server(server.addr), TokenLogin(lambda: SecretStr(server.root_token))))
        fill(store, registries)
        with served(server.addr) as (origin, pid):
            visit = signed_in(origin, server.root_token)
            began = time.perf_counter()
            page = visit("/")
            table.add(
                "first page, all read from Vault, ms", ours=f"{(time.perf_counter() - began) * 1000:.0f}"
            )
            size = assets(origin, page)
            for path in PATHS:
                visit(path)  # loads the page's module and compiles its template
            cost = Cost(pid)
            times: list[float] = []
            largest = 0
            slowest: dict[str, float] = {}
            for _ in range(rounds):
                for path in PATHS:
                    began = time.perf_counter()
                    text = visit(path)
                    took = (time.perf_counter() - began) * 1000
                    times.append(took)
                    slowest[path] = max(slowest.get(path, 0), took)
                    largest = max(largest, len(text.encode()))
                time.sleep(0.25)  # so that cached lists expire and are read again
            cpu = cost.cpu * 1000 / len(times)
    p95 = percentile(times, 0.95)
    table.add("CPU of the console for a page, with its share of reading lists again, ms", ours=f"{cpu:.0f}")
    goal = GOALS.get(registries)
    table.add("p50 of warm pages, ms", ours=f"{median(times):.0f}")
    table.add(
        "p95 of warm pages, ms",
        goal=f"<= {goal:.0f}" if goal else "",
        ours=f"{p95:.0f}",
        holds=p95 <= goal if goal else None,
    )
    table.add(
        "largest page with all it loads, kB",
        goal=f"<= {SIZE_MAX // 1000}",
        ours=f"{(largest + size) / 1000:.1f}",
        holds=largest + size <= SIZE_MAX,
    )
    table.note(
        "slowest of each page, ms: " + ", ".join(f"{path} {took:.0f}" for path, took in slowest.items())
    )
    say(table.text())
    return table.held


PATHS = (
    "/",
    "/registries",
    "/registries?sort=expiry&order=down&page=3",
    "/registries?q=r-1&state=failing",
    "/registries/team-0/r-1",
    "/clusters",
    "/clusters/c0",
    "/projects",
    "/annotation?ref=team-0/r-1&ref=team-0/r-2",
    "/explain",
)


@contextmanager
def vault() -> Iterator[Vault]:
    """Start a Vault that contains only Regcred's mount."""
    with temporary_vault() as server:
        seed.set_up(server)
        yield server


def fill(store: Store, registries: int) -> None:
    """Write the documents that rotate and sync would have written."""
    now = datetime.now(UTC)
    names = [f"c{number}" for number in range(CLUSTERS)]
    projects = max(10, registries // PROJECT_SIZE)
    each = registries // projects
    for project in (f"team-{number}" for number in range(projects)):
        store.write_project(project, ProjectPolicy(clusters=names), cas=0)
        store.merge_index(project, {f"r-{number}": entry(number, now) for number in range(each)})
        for cluster in names:
            places = {
                f"r-{number}": Placement(placed={7: {f"ns-{number % 40}": "0123abcd"}})
                for number in range(0, each, 4)
            }
            store.write_status(
                cluster, project, Status(written_at=now, sync_version="1", registries=places), cas=0
            )
    store.write_definition(
        Reference("team-0", "r-1"),
        Definition.model_validate({"provider": "ecr", "regions": ["eu-west-1"]}),
        cas=0,
    )


def entry(number: int, now: datetime) -> IndexEntry:
    """An index entry. Every tenth is failing."""
    return IndexEntry(
        state=Outcome.FAILING if number % 10 == 0 else Outcome.OK,
        version=7,
        fingerprint=f"f{number}",
        provider=("ecr", "gar", "basic")[number % 3],
        hosts=[f"12345678901{number % 10}.dkr.ecr.eu-west-{number % 3}.amazonaws.com"],
        expires_at=now + timedelta(minutes=number % 720 + 30),
        refresh_at=now + timedelta(minutes=number % 360),
        error="the registry refused the login (401): write a new secret" if number % 10 == 0 else "",
        changed_at=now - timedelta(minutes=number % 300),
    )


@contextmanager
def served(address: str) -> Iterator[tuple[str, int]]:
    """Serve the console in a separate process over plain HTTP; yield its origin and process id."""
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=serve, args=(address, far), daemon=True)
    process.start()
    try:
        yield near.recv(), process.pid or 0
    finally:
        process.terminate()
        process.join(10)


def serve(address: str, pipe: multiprocessing.connection.Connection) -> None:
    with serving.served(address, tls=False, methods=serving.METHODS) as console:
        pipe.send(console.origin)
        console.wait()


def signed_in(origin: str, token: str):
    """Sign in with a token, and return a function that fetches a page."""
    session = requests.Session()
    cookies: dict[str, str] = {}

    def send(verb: str, path: str, **fields: str) -> requests.Response:
        answer = session.request(
            verb,
            origin + path,
            data=fields or None,
            headers={
                "Origin": origin,
                "Cookie": "; ".join(f"{key}={value}" for key, value in cookies.items()),
            },
            allow_redirects=False,
            timeout=60,
        )
        cookies.update({cookie.name: cookie.value or "" for cookie in answer.cookies})
        session.cookies.clear()
        return answer

    found = re.search(r'name="csrf" value="([^"]+)"', send("GET", "/sign-in").text)
    assert found
    place = str(len(serving.METHODS) - 1)
    assert send("POST", "/sign-in", csrf=found[1], method=place, token=token, next="/").status_code == 303

    def visit(path: str) -> str:
        answer = send("GET", path)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.text

    return visit


def assets(origin: str, page: str) -> int:
    """Count the bytes of the stylesheets and scripts that a page loads."""
    paths = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page))
    return sum(len(requests.get(origin + path, timeout=10).content) for path in paths)


if __name__ == "__main__":
    sys.exit(main())
