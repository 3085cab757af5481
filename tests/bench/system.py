"""The token server of the system registry: latency over the signature's own time, tokens per second of one core, cold start."""

from __future__ import annotations

import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import requests
import uvicorn
from real.systemregistry import ROOT, SERVICE, SystemRegistry

from bench.process import Cost
from bench.table import Table
from realparts.internet import Internet
from realparts.procs import Processes, wait_for
from realparts.state import State
from realparts.vault import Vault
from regcred.token.recent import RecentRecords
from regcred.token.web import application
from regcred.vault.platform.system import TRANSIT
from regcred.vault.records.system import ACCESS_KEY
from regcred.vault.transit import TransitSigner

TOKENS = 400
CLIENTS = 8
SCOPE = "repository:payments/web:pull"
PATHS = [ROOT / "layers/core/python", ROOT / "functions/token"]
FLOOR = "import starlette.applications, mangum, jwt, hvac, pydantic, requests, anyio.to_thread, cryptography.x509, boto3"
OURS = "from regcred.settings import TokenSettings; import app; app._adapter()"


def main() -> int:
    """Measure; 0 if every goal holds."""
    table = Table("system registry")
    directory = Path(tempfile.mkdtemp(prefix="bench-system-"))
    processes = Processes(directory)
    internet = Internet(processes, State(directory))
    vault = Vault(processes, State(directory), internet)
    internet.up()
    vault.up()
    try:
        tokens(table, SystemRegistry(vault, processes, directory, internet))
        cold_start(table)
    finally:
        for name in processes.running():
            processes.stop(name)
        processes.sweep()
    return 0 if table.held else 1


def serve(system: SystemRegistry) -> None:
    service = system.service()
    uvicorn.run(
        application(replace(service, records=RecentRecords(service.records))),
        host="127.0.0.1",
        port=system.token_port,
        log_level="warning",
        access_log=False,
    )


def tokens(table: Table, system: SystemRegistry) -> None:
    system.set_up("payments")
    server = multiprocessing.get_context("fork").Process(target=serve, args=(system,), daemon=True)
    server.start()
    wait_for("the token server", lambda: requests.get(f"{system.address}/healthz", timeout=2).ok)
    login = system.login(system.person("ann", "regcred-admins-payments"))
    signer = TransitSigner(system.root(), TRANSIT, ACCESS_KEY)

    def ask(session: requests.Session) -> None:
        answer = session.get(
            f"{system.address}/token", params={"service": SERVICE, "scope": SCOPE}, auth=login, timeout=30
        )
        answer.raise_for_status()

    with requests.Session() as session:
        ask(session)
        own = percentile([timed(lambda: ask(session)) for _ in range(200)], 95)
    signature = percentile([timed(lambda: signer.sign(b"x" * 400)) for _ in range(200)], 95)
    over = (own - signature) * 1000
    table.add(
        "a token, warm, p95 over a signature of Vault",
        goal="20 ms",
        floor=f"{signature * 1000:.1f} ms",
        ours=f"{over:.1f} ms",
        holds=over <= 20,
    )
    cost = Cost(server.pid or 0)

    def client(_number: int) -> None:
        with requests.Session() as session:
            for _ in range(TOKENS // CLIENTS):
                ask(session)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    rate = TOKENS / cost.cpu
    table.add("tokens per second of one core", goal="200", ours=f"{rate:.0f}", holds=rate >= 200)
    server.terminate()
    server.join(10)


def cold_start(table: Table) -> None:
    floor, ours = (min(started(code) for _ in range(5)) for code in (FLOOR, OURS))
    table.add(
        "start of the function against its imports",
        goal="1.3",
        floor=f"{floor * 1000:.0f} ms",
        ours=f"{ours * 1000:.0f} ms",
        ratio=ours / floor,
        holds=ours <= 1.3 * floor,
    )


def started(code: str) -> float:
    environment = {"PYTHONPATH": ":".join(map(str, PATHS)), "REGCRED_VAULT_ADDR": "https://vault.example.com"}
    return timed(lambda: subprocess.run([sys.executable, "-c", code], check=True, env=environment))


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def percentile(values: list[float], which: int) -> float:
    return statistics.quantiles(values, n=100)[which - 1]


if __name__ == "__main__":
    sys.exit(main())
