"""Regcred on the real parts: its chart, sync and command line, for the demo and the end-to-end tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from .build import LOCAL, binary
from .internet import python_environment
from .pki import write_private
from .procs import free_ports
from .stack import Stack

CLUSTER = "local"
NAMESPACE = "regcred-system"
ACCOUNT_NAME = "regcred-sync"
CHART = LOCAL.parent / "kubernetes" / "chart" / "regcred"
SYNC = LOCAL.parents[1] / "functions" / "sync" / "app.py"
NEVER = "0 0 31 2 *"


class Product:
    """The handle. `instance` is the name of sync's process, for a second one in the same stack."""

    def __init__(self, stack: Stack, *, instance: str = "sync") -> None:
        self.stack = stack
        self.instance = instance
        self._directory = stack.directory / instance

    @property
    def log(self) -> Path:
        """The sync's log."""
        return self.stack.logs_dir / f"{self.instance}.log"

    def regcred(
        self, *args: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line as the local administrator and return what it printed.

        Raises:
            AssertionError: it failed and `check` is true. The message contains its output.
        """
        done = subprocess.run(
            [Path(sys.executable).parent / "regcred", *args],
            input=stdin,
            env={**python_environment(), **self.stack.environment()},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        with (self.stack.logs_dir / "cli.log").open("a") as log:
            log.write(f"regcred {' '.join(args)}\n{done.stdout}{done.stderr}")
        if check and done.returncode:
            raise AssertionError(
                f"regcred {' '.join(args)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def regcred_json(self, *args: str) -> Any:
        """Run the command line with `-o json` and return the parsed output."""
        return json.loads(self.regcred(*args, "-o", "json").stdout)

    def install_chart(self, *settings: str) -> None:
        """Install or upgrade the chart: the policies and RBAC. Sync runs as a process outside the cluster.

        Args:
            settings: values in the form of `helm --set`.
        """
        values = [
            f"cluster={CLUSTER}",
            f"vault.address={self.stack.vault.addr}",
            "kind=CronJob",
            f"schedule={NEVER}",
            "image.repository=registry.example.com/regcred-sync",
            *settings,
        ]
        self.helm(
            "upgrade",
            "--install",
            "--create-namespace",
            "regcred",
            CHART,
            *(part for value in values for part in ("--set", value)),
        )

    def helm(self, *args: str | Path) -> str:
        """Run helm in the namespace of the release and return its output.

        Raises:
            AssertionError: it failed.
        """
        home = self._directory / "helm"
        home.mkdir(parents=True, exist_ok=True)
        folders = {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [
                binary("helm"),
                *args,
                "--namespace",
                NAMESPACE,
                "--kubeconfig",
                self.stack.kubernetes.kubeconfig,
            ],
            env={**os.environ, **folders},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"helm {' '.join(str(arg) for arg in args)}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def sync_environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of sync's container, with files for the tokens of its ServiceAccount.

        Args:
            settings: variables to add or replace, without the prefix `REGCRED_`.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        kubernetes = self.stack.kubernetes
        token = self._directory / "vault-token"
        write_private(
            token, kubernetes.service_account_token(NAMESPACE, ACCOUNT_NAME, audience="vault", seconds=86400)
        )
        values = {
            "CLUSTER": CLUSTER,
            "ALLOWED_MODES": "admission,none",
            "VAULT_ADDR": self.stack.vault.addr,
            "VAULT_AUTH_MOUNT": f"regcred-cluster-{CLUSTER}",
            "VAULT_TOKEN_FILE": str(token),
            "GRACE_SECONDS": "2",
            "POLL_SECONDS": "2",
            "LOG_LEVEL": "debug",
            "METRICS_PORT": str(free_ports(1)[0]),
            **(settings or {}),
        }
        account = kubernetes.service_account_kubeconfig(NAMESPACE, ACCOUNT_NAME, seconds=86400)
        return {"KUBECONFIG": str(account), **{f"REGCRED_{name}": value for name, value in values.items()}}

    def start_sync(self, **settings: str) -> None:
        """Start sync's loop as a process with only the rights of its ServiceAccount, and wait until it is
        ready."""
        self.stop_sync()
        environment = self.sync_environment(settings)
        port = environment["REGCRED_METRICS_PORT"]
        self.stack.processes.start(
            self.instance,
            [sys.executable, SYNC],
            ready=lambda: _ready(port),
            env={**python_environment(), **environment},
        )

    def stop_sync(self, *, grace: float = 5) -> None:
        """Stop sync. With a grace of 0 it is killed in the middle of its work."""
        self.stack.processes.stop(self.instance, grace=grace)

    def sync_once(self, *args: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run sync once, as the CronJob does, and return its result. The log also gets its output."""
        done = subprocess.run(
            [sys.executable, SYNC, "--once", *args],
            env={**python_environment(), **self.sync_environment(settings)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        with self.log.open("a") as log:
            log.write(done.stdout + done.stderr)
        return done

    def sweep(self) -> Any:
        """Start dispatch now, as the schedule does every five minutes."""
        return self.stack.lambda_.get("dispatch").invoke({})


def _ready(port: str) -> bool:
    return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2).ok
