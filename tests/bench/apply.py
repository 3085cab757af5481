"""`python -m bench.apply`: measure how long it takes to apply, compare, change, export, prune and restore a
fleet in files on a real OpenBao."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fakes.fleet_files import FleetSize, write_fleet
from pydantic import SecretStr

from bench.console import entry
from bench.replay import Write, ids_of, recorded_writes, replay
from bench.table import Table, say
from realparts.vault import Vault, temporary_vault
from regcred.registry_reference import Reference
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin
from regcred.vault.store import Store

DIFF_SECONDS = 20
DIFF_MIB = 150
CHANGE_SECONDS = 2
WRITES_RATIO = 0.8
STATUS_SECONDS = 5


@dataclass(frozen=True)
class Ran:
    """The result of a command in a separate process."""

    code: int
    seconds: float
    peak: float
    """Resident memory, in MiB."""
    cpu: float
    """CPU seconds, which hardly depend on the load of the machine."""
    out: str
    err: str


def environment(server: Vault) -> dict[str, str]:
    """The environment of a command with the root token of a server."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "VAULT_ADDR": server.addr,
        "VAULT_TOKEN": server.root_token,
    }


@dataclass(frozen=True)
class Shell:
    """Runs `regcred` commands with the root token of a server."""

    server: Vault

    def __call__(self, line: str, code: int = 0) -> Ran:
        """Run a command.

        Raises:
            RuntimeError: If its exit code is not `code`.
        """
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            began = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-m", "regcred.cli", *line.split()],
                env=environment(self.server),
                stdout=out,
                stderr=err,
            )
            _, status, usage = os.wait4(process.pid, 0)
            took = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            ran = Ran(
                process.returncode,
                took,
                usage.ru_maxrss / 1024,
                usage.ru_utime + usage.ru_stime,
                out.read(),
                err.read(),
            )
        if ran.code != code:
            raise RuntimeError(f"regcred {line}: exit code {ran.code}: {ran.err[-2000:]}")
        return ran

    @property
    def store(self) -> Store:
        """The records in Vault, with the root token."""
        return Store(connect(Server(self.server.addr), TokenLogin(lambda: SecretStr(self.server.root_token))))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--projects", type=int, default=500)
    parser.add_argument("--registries", type=int, default=20)
    parser.add_argument("--clusters", type=int, default=100)
    given = parser.parse_args()
    size = FleetSize(given.clusters, given.projects, given.registries)
    table = Table(
        f"Fleet: {size.projects * size.registries:,} registries, {size.projects} projects, {size.clusters} "
        "clusters"
    )
    with tempfile.TemporaryDirectory() as folder:
        whole(table, size, Path(folder))
    say(table.text())
    return 0 if table.held else 1


def whole(table: Table, size: FleetSize, folder: Path, *, rounds: int = 3) -> None:
    """Apply, compare, change, export, prune and restore a fleet, and measure each step.

    Args:
        table: The table that gets the figures.
        size: The size of the fleet.
        folder: The folder for the files of the fleet.
        rounds: How often the first apply is measured.
    """
    fleet, exported = folder / "fleet", folder / "exported"
    write_fleet(fleet, size, public_key())
    with temporary_vault() as server:
        shell = Shell(server)
        first_apply(table, size, shell, fleet, folder, rounds=rounds)
        same = shell(f"diff -f {fleet} --owner fleet --prune")
        table.add(
            "diff of all, s",
            goal=f"<= {DIFF_SECONDS}",
            ours=f"{same.seconds:.1f}",
            holds=same.seconds <= DIFF_SECONDS,
        )
        table.add(
            "peak memory of diff, MiB",
            goal=f"<= {DIFF_MIB}",
            ours=f"{same.peak:.0f}",
            holds=same.peak <= DIFF_MIB,
        )
        table.add("CPU of diff, s", ours=f"{same.cpu:.1f}")
        one_change(table, shell, fleet)
        ran = shell(f"export --dir {exported}")
        table.add("export of all, s", ours=f"{ran.seconds:.1f}")
        shell(f"diff -f {exported}")
        status(table, size, shell)
        (fleet / "projects" / "team-0.yaml").unlink()
        removals = size.registries + 4
        ran = shell(f"apply -f {fleet} --owner fleet --prune --yes --allow-removals {removals}")
        table.add("prune of one project with all it has, s", ours=f"{ran.seconds:.1f}")
        if shell.store.registries("team-0") or shell.store.project("team-0"):
            raise RuntimeError("team-0 was not pruned")
    with temporary_vault() as server:
        shell = Shell(server)
        ran = shell(f"apply -f {exported}")
        table.add("restore of all into an empty OpenBao, s", ours=f"{ran.seconds:.1f}")
        shell(f"diff -f {exported}")
        if len(shell.store.registries("team-0")) != size.registries:
            raise RuntimeError("team-0 was not restored")
    shutil.rmtree(exported)


def first_apply(
    table: Table, size: FleetSize, shell: Shell, fleet: Path, folder: Path, *, rounds: int
) -> None:
    """Apply the fleet to an empty server. The floor is a bare client that sends the same writes.

    The speed of the machine changes. So both are measured in turn, and the median ratio counts.
    """
    writes, ids = recorded_apply(fleet, folder / "writes.jsonl")
    compared = shell(f"diff -f {fleet} --owner fleet", code=6)
    found = [(bare_seconds(writes, ids), applied_elsewhere(fleet)) for _ in range(rounds - 1)]
    found.append((bare_seconds(writes, ids), shell(f"apply -f {fleet} --owner fleet")))
    bare, ran = sorted(found, key=lambda one: one[0] / one[1].seconds)[rounds // 2]
    table.add(
        f"first apply of all ({size.objects:,} objects, {len(writes):,} writes), s", ours=f"{ran.seconds:.1f}"
    )
    table.add("of that: read the files and compare, s", ours=f"{compared.seconds:.1f}")
    table.add("CPU of the first apply, s", ours=f"{ran.cpu:.1f}")
    table.add(
        "writes a second in the first apply",
        goal=f">= {WRITES_RATIO:.0%} of a bare client",
        floor=f"{len(writes) / bare:.0f}",
        ours=f"{len(writes) / ran.seconds:.0f}",
        ratio=bare / ran.seconds,
        holds=bare >= WRITES_RATIO * ran.seconds,
    )


def applied_elsewhere(fleet: Path) -> Ran:
    """Apply the fleet to an empty server that nothing else uses."""
    with temporary_vault() as server:
        return Shell(server)(f"apply -f {fleet} --owner fleet")


def recorded_apply(fleet: Path, file: Path) -> tuple[list[Write], dict[str, str]]:
    """Apply the fleet to a server that is not measured. Return the writes, and the IDs on that server."""
    with temporary_vault() as server:
        subprocess.run(
            [sys.executable, "-m", "bench.replay", str(file), "apply", "-f", str(fleet), "--owner", "fleet"],
            env=environment(server) | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return recorded_writes(file), ids_of(server)


def bare_seconds(writes: list[Write], ids: dict[str, str]) -> float:
    """Return how long a client of the standard library takes for the same writes on an empty server."""
    with temporary_vault() as server:
        return replay(server, writes, ids)


def one_change(table: Table, shell: Shell, fleet: Path) -> None:
    """Change one registry, and measure the `apply`."""
    path = fleet / "projects" / "team-1.yaml"
    path.write_text(path.read_text().replace("team 1, part 0", "team 1, part zero"))
    same = shell(f"diff -f {fleet} --owner fleet --prune", code=6)
    ran = shell(f"apply -f {fleet} --owner fleet --prune")
    found = shell.store.definition(Reference("team-1", "r-0"))
    if found is None or "part zero" not in str(found.value.content()):
        raise RuntimeError("the change was not written")
    after = shell(f"diff -f {fleet} --owner fleet --prune")
    more = ran.seconds - (same.seconds + after.seconds) / 2
    table.add(
        "apply of one change, s over the diff",
        goal=f"<= {CHANGE_SECONDS}",
        ours=f"{more:.1f}",
        holds=more <= CHANGE_SECONDS,
    )
    table.add("CPU of that apply over the diff's, s", ours=f"{ran.cpu - same.cpu:.1f}")


def status(table: Table, size: FleetSize, shell: Shell) -> None:
    """Write an index for each project, as rotate does, and measure `status`."""
    store, now = shell.store, datetime.now(UTC)
    for number in range(size.projects):
        entries = {f"r-{at}": entry(at, now) for at in range(size.registries)}
        store.merge_index(f"team-{number}", entries)
    ran = shell("status -o json")
    if len(json.loads(ran.out)["registries"]) < size.projects * size.registries:
        raise RuntimeError("status shows too little")
    table.add(
        "status of all, s",
        goal=f"<= {STATUS_SECONDS}",
        ours=f"{ran.seconds:.1f}",
        holds=ran.seconds <= STATUS_SECONDS,
    )
    table.add("CPU of status, s", ours=f"{ran.cpu:.1f}")
    table.add("peak memory of status, MiB", ours=f"{ran.peak:.0f}")


def public_key() -> str:
    """Create a key and return its public part in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


if __name__ == "__main__":
    sys.exit(main())
