"""`python -m bench.system`: measure the token server of the system registry.

The figures are its latency beyond that of Vault's signature, its tokens per second of one core, the time that
it adds to a pull, and its cold start.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tarfile
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
from bench.table import Table, say
from realparts.build import binary
from realparts.debian import python313
from realparts.internet import Internet
from realparts.procs import Processes, free_ports, wait_for
from realparts.python313 import environment_python
from realparts.state import State
from realparts.vault import Vault
from regcred.token.document_cache import CachedRecords
from regcred.token.web import application
from regcred.vault.platform.system import TRANSIT
from regcred.vault.records.system import ACCESS_KEY
from regcred.vault.transit import TransitSigner

TOKENS = 400
CLIENTS = 8
SCOPE = "repository:payments/web:pull"
IMAGE_BYTES = 50_000_000
PULLS = 15
HTPASSWD = "bench:$2b$05$PvmbZ3kK3ZxO9tqZ8m2xTuN7Q4woHr2zBeHgiUKa3JnZYXbGtuonG"
"""The user `bench` with the password `bench`, in bcrypt with Apache's default cost."""
ROUNDS = 9
FLOOR = """
import starlette.applications, mangum, jwt, hvac, requests, anyio.to_thread, cryptography.x509, boto3
from pydantic import BaseModel, SecretStr
"""
"""The packages that every token server needs: web framework, signatures, Vault's client, and AWS sign-in."""
OURS = "import app; app._adapter()"
MEASURED = "import time; began = time.process_time()\n{code}\nprint(time.process_time() - began)"


def main() -> int:
    """Measure with the Python version of Lambda and the image; return 0 if every goal is met."""
    if sys.version_info[:2] != (3, 13):
        return subprocess.run([environment_python(), "-m", "bench.system"], check=False).returncode
    table = Table("system registry")
    directory = Path(tempfile.mkdtemp(prefix="bench-system-"))
    processes = Processes(directory)
    internet = Internet(processes, State(directory))
    vault = Vault(processes, State(directory), internet)
    internet.up()
    vault.up()
    try:
        tokens(table, SystemRegistry(vault, processes, directory, internet))
        cold_start(table, directory)
    finally:
        for name in processes.running():
            processes.stop(name)
        processes.sweep()
    say("\n" + table.text())
    return 0 if table.held else 1


def serve(system: SystemRegistry) -> None:
    service = system.service()
    uvicorn.run(
        application(replace(service, records=CachedRecords(service.records))),
        host="127.0.0.1",
        port=system.token_port,
        log_level="warning",
        access_log=False,
    )


def tokens(table: Table, system: SystemRegistry) -> None:
    system.set_up("payments")
    # crane refuses a realm with a private IP address.
    system.realm = f"http://localhost:{system.token_port}"
    server = multiprocessing.get_context("fork").Process(target=serve, args=(system,), daemon=True)
    server.start()
    wait_for("the token server", lambda: requests.get(f"{system.address}/healthz", timeout=2).ok)
    login = system.login(system.person("ann", "regcred-admins-payments"))
    signer = TransitSigner(system.root(), TRANSIT, ACCESS_KEY)

    def request_token(session: requests.Session) -> None:
        answer = session.get(
            f"{system.address}/token", params={"service": SERVICE, "scope": SCOPE}, auth=login, timeout=30
        )
        answer.raise_for_status()

    with requests.Session() as session:
        request_token(session)
        own = percentile([seconds_of(lambda: request_token(session)) for _ in range(200)], 95)
    signature = percentile([seconds_of(lambda: signer.sign(b"x" * 400)) for _ in range(200)], 95)
    over = (own - signature) * 1000
    table.add(
        "a token, warm, p95 over a signature of Vault",
        goal="<= 20 ms",
        floor=f"{signature * 1000:.1f} ms",
        ours=f"{over:.1f} ms",
        holds=over <= 20,
    )
    cost = Cost(server.pid or 0)

    def client(_number: int) -> None:
        with requests.Session() as session:
            for _ in range(TOKENS // CLIENTS):
                request_token(session)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    rate = TOKENS / cost.cpu
    table.add("tokens per second of one core", goal=">= 200", ours=f"{rate:.0f}", holds=rate >= 200)
    pulls(table, system, login)
    server.terminate()
    server.join(10)


def pulls(table: Table, system: SystemRegistry, login: tuple[str, str]) -> None:
    """Pull a large image in turn from a registry with tokens and from one with htpasswd."""
    system.registry("tokens")
    ports = {"tokens": system.ports["tokens"], "htpasswd": start_htpasswd_registry(system)}
    logins = {"tokens": login, "htpasswd": ("bench", "bench")}
    home = system.directory / "crane"
    home.mkdir()
    auths = {
        f"localhost:{ports[name]}": {"username": user, "password": password}
        for name, (user, password) in logins.items()
    }
    (home / "config.json").write_text(json.dumps({"auths": auths}))

    def crane(*args: str | Path) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "DOCKER_CONFIG": str(home)}
        subprocess.run([binary("crane"), *args], check=True, env=environment, capture_output=True)

    (home / "data").write_bytes(os.urandom(IMAGE_BYTES))
    with tarfile.open(home / "layer.tar", "w") as tar:
        tar.add(home / "data", "data")
    images = {name: f"localhost:{port}/payments/large:1" for name, port in ports.items()}
    for image in images.values():
        crane("append", "--oci-empty-base", "-f", home / "layer.tar", "-t", image)
        crane("export", image, home / "unpacked.tar")

    def pull(name: str) -> None:
        crane("export", images[name], home / "unpacked.tar")

    pairs = [(seconds_of(lambda: pull("htpasswd")), seconds_of(lambda: pull("tokens"))) for _ in range(PULLS)]
    table.add_pairs(
        "a pull of 50 MB, fetched and unpacked by crane, over the same registry with htpasswd",
        pairs,
        most=1.05,
    )


def start_htpasswd_registry(system: SystemRegistry) -> int:
    """Start the same registry with htpasswd, and return its port."""
    (port,) = free_ports(1)
    folder = system.directory / "htpasswd"
    folder.mkdir()
    (folder / "htpasswd").write_text(HTPASSWD + "\n")
    config = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "bench", "path": str(folder / "htpasswd")}},
    }
    (folder / "config.json").write_text(json.dumps(config))
    system.processes.start(
        "registry-htpasswd",
        [binary("registry"), "serve", folder / "config.json"],
        ready=lambda: requests.get(f"http://127.0.0.1:{port}/v2/", timeout=2).status_code == 401,
        env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
    )
    return port


def cold_start(table: Table, folder: Path) -> None:
    """Measure the function's cold start, next to its imports alone.

    Both are processor time, on the layers that `sam build` makes.
    """
    python, layers = python313(), built_layers(folder)
    for code in (FLOOR, OURS):
        start_seconds(python, layers, code)
    pairs = [
        (start_seconds(python, layers, FLOOR), start_seconds(python, layers, OURS)) for _ in range(ROUNDS)
    ]
    table.add_pairs("cold start: import to ready, Python 3.13", pairs, most=1.3)


def built_layers(folder: Path) -> list[Path]:
    """Build the function's layers as `sam build` does, but for this machine's processor."""
    environment = {
        **os.environ,
        "PYTHON313": str(python313()),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    layers = []
    for name in ("WebLayer", "DepsLayer", "CoreLayer"):
        target = folder / name
        target.mkdir()
        command = ["make", "--silent", "-C", ROOT / "layers", f"build-{name}", f"ARTIFACTS_DIR={target}"]
        platform = f"PLATFORM={os.uname().machine}-manylinux2014"
        subprocess.run([*command, platform], env=environment, check=True)
        if not any(target.rglob("*.pyc")):
            raise RuntimeError(f"{name} has no bytecode")
        layers.append(target / "python")
    return layers


def start_seconds(python: Path, layers: list[Path], code: str) -> float:
    """Return the processor seconds of some code in a new process with Lambda's import path."""
    environment = {
        "PYTHONPATH": ":".join(map(str, [ROOT / "functions/token", *layers])),
        "PYTHONDONTWRITEBYTECODE": "1",
        "REGCRED_VAULT_ADDR": "https://vault.example.com",
    }
    command = [python, "-S", "-c", MEASURED.format(code=code)]
    return float(subprocess.run(command, check=True, env=environment, capture_output=True).stdout)


def seconds_of(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def percentile(values: list[float], which: int) -> float:
    return statistics.quantiles(values, n=100)[which - 1]


if __name__ == "__main__":
    sys.exit(main())
