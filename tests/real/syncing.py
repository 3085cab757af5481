"""Sync as a process, with the ServiceAccount and rights of the chart. It signs in to OpenBao by a JWT of that
ServiceAccount."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import requests
from fakes.sync_world import Mount
from pydantic import SecretStr
from real.controlplane import Cluster

from realparts.procs import free_ports
from realparts.stack import Stack
from regcred.clock import utc_now
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin
from regcred.vault.records.declared import ProjectPolicy

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = ("regcred-system", "regcred-sync")
CLUSTER = "local"
PATIENCE = (10.0, 90.0)
"""Seconds to connect to Vault and to read from it: other tests can keep its disk busy."""


def mount_of(stack: Stack) -> Mount:
    """The mount, with helpers to write it as admins and rotate do."""
    token = SecretStr(stack.vault.root_token)
    server = Server(stack.vault.addr, timeout=PATIENCE)
    return Mount(connect(server, TokenLogin(lambda: token)), utc_now, CLUSTER)


def allow_project(stack: Stack, mount: Mount, project: str) -> None:
    """Let the cluster read a project, as a platform admin does."""
    mount.store.change_project(project, lambda _: ProjectPolicy(clusters=[CLUSTER]))
    stack.up(["vault", "kubernetes"])


class SyncProcess:
    """``functions/sync/app.py`` with its settings.

    All output is in the logs of the stack, in a file with the name of ``folder``.
    """

    def __init__(self, stack: Stack, cluster: Cluster, folder: Path, **settings: str) -> None:
        self.cluster = cluster
        self.log = stack.logs_dir / f"{folder.name}.log"
        self._token = folder / "vault-token"
        (self.port,) = free_ports(1)
        kubernetes = stack.kubernetes
        self._token.write_text(kubernetes.service_account_token(*ACCOUNT, audience="vault"))
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KUBECONFIG": str(kubernetes.service_account_kubeconfig(*ACCOUNT)),
            "REGCRED_CLUSTER": CLUSTER,
            "REGCRED_VAULT_ADDR": stack.vault.addr,
            "REGCRED_VAULT_TOKEN_FILE": str(self._token),
            "REGCRED_METRICS_PORT": str(self.port),
            "REGCRED_POLL_SECONDS": "1",
            "REGCRED_GRACE_SECONDS": "0",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start sync. Without arguments it runs the loop."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(*arguments), env=self._environment, stdout=log, stderr=log
            )
        return self.process

    def command(self, *arguments: str) -> list[str]:
        """The command line of the process."""
        return [sys.executable, str(ROOT / "functions/sync/app.py"), *arguments]

    def once(self, *arguments: str, seconds: float = 60) -> tuple[int, str]:
        """Run sync once, and return the exit code and the output."""
        done = subprocess.run(
            self.command("--once", *arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        with self.log.open("a") as log:
            log.write(done.stdout + done.stderr)
        return done.returncode, done.stdout + done.stderr

    def kill(self) -> None:
        """End the process as the loss of a node does."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End the process as the kubelet does, and check that it exits with 0."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(20) == 0
        self.process = None

    def ready(self) -> bool:
        """Whether the readiness probe succeeds."""
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def metric(self, line: str) -> float:
        """The value of a series of /metrics, as ``name{label="value"}``; 0 if there is none."""
        text = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=2).text
        found = [entry.rpartition(" ")[2] for entry in text.splitlines() if entry.startswith(f"{line} ")]
        return float(found[0]) if found else 0.0


class Audit:
    """The requests of the ServiceAccount in the API server's audit log since this object was created."""

    def __init__(self, stack: Stack) -> None:
        self._log = stack.kubernetes.audit_log
        self._from = self._log.stat().st_size

    def requests(self, *verbs: str) -> list[tuple[str, str, int]]:
        """Verb, resource and status code of each request that has been answered."""
        user = "system:serviceaccount:" + ":".join(ACCOUNT)
        with self._log.open("rb") as log:
            log.seek(self._from)
            entries = [json.loads(line) for line in log.read().splitlines() if user.encode() in line]
        return [
            (entry["verb"], entry.get("objectRef", {}).get("resource", ""), entry["responseStatus"]["code"])
            for entry in entries
            if entry["user"]["username"] == user and entry["stage"] != "RequestReceived"
            if not verbs or entry["verb"] in verbs
        ]
