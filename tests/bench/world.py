"""The environment of the sync benchmarks: a cluster with many namespaces, a Vault, sync, and the floor."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fakes.sync_world import Mount
from pydantic import SecretStr

from bench.api import Api
from bench.audit import ApiAudit, VaultAudit
from bench.process import Cost
from realparts.internet import python_environment
from realparts.product import ACCOUNT_NAME, CLUSTER, NAMESPACE, SYNC, Product
from realparts.stack import Stack
from regcred.clock import utc_now
from regcred.cluster.dockerconfig import secret_body
from regcred.registry_reference import Reference
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin
from regcred.vault.records.declared import ProjectPolicy

PROJECT = "bench"
MAIN = Reference(PROJECT, "main")
FLOOR = Reference(PROJECT, "fast")
"""The registry whose Secret the floor writes. Its name is as long as that of :data:`MAIN`."""

TOKEN_LENGTH = 1800
"""Characters, about as many as an ECR login has."""

INDEX = f"regcred/metadata/credentials/{PROJECT}/_index"
"""The path that sync polls."""

LOADED = (
    "regcred.wiring.sync",
    "regcred.wiring.sync.log_setup",
    "regcred.wiring.sync.metrics",
    "regcred.wiring.sync.server",
    "regcred.cluster.kube",
    "regcred.vault.http",
    "regcred.vault.kv2",
    "regcred.vault.login",
)
"""The modules that sync imports at start. They import all other modules that it needs."""


class World:
    """A cluster and a Vault, made by :func:`world`."""

    def __init__(self, stack: Stack, api: Api, product: Product) -> None:
        self.stack, self.api, self.product = stack, api, product
        token = SecretStr(stack.vault.root_token)
        vault = connect(Server(stack.vault.addr), TokenLogin(lambda: token))
        self.mount = Mount(vault, utc_now, CLUSTER)
        self.spaces: list[str] = []
        self._made = 0

    def allow(self, *projects: str, parts: Sequence[str] = ("vault", "kubernetes")) -> None:
        """Let the cluster's identity read these projects, as a platform admin does."""
        for project in projects:
            self.mount.store.change_project(project, lambda _: ProjectPolicy(clusters=[CLUSTER]))
        self.stack.up(parts)

    def stop_controllers(self) -> None:
        """Stop the controllers and the scheduler, because their writes would disturb the measurement."""
        for controller in ("kube-controller-manager", "kube-scheduler"):
            self.stack.processes.stop(controller)

    def mint(self, reference: Reference = MAIN) -> int:
        """Write a new credential and the index, as rotate does. Returns the version."""
        return self.mount.mint(str(reference), self.password())

    def password(self) -> str:
        """A new secret as long as an ECR login."""
        self._made += 1
        return self.stack.remember_secret(f"bench-{self._made:06d}-".ljust(TOKEN_LENGTH, "x"))

    def floor_body(self, version: int) -> str:
        """The bytes that sync would send for the floor's Secret."""
        found = self.mount.store.credential(MAIN)
        assert found
        text, ends = found.value.dockerconfigjson, found.value.expires_at
        return secret_body(FLOOR, text, version=version, expires_at=ends).content.decode()

    async def fill(
        self, count: int, requested: Sequence[Sequence[Reference]] = ((MAIN,),), *, pods: int = 0
    ) -> None:
        """Create namespaces, each with a Deployment and `pods` Pods.

        The Deployments take turns to request the items of `requested`.
        """
        self.stop_controllers()
        self.spaces = [f"bench-{number:05d}" for number in range(count)]
        await self.api.each(("POST", "/api/v1/namespaces", namespace(space)) for space in self.spaces)
        await self.api.each(
            (
                "POST",
                f"/apis/apps/v1/namespaces/{space}/deployments",
                deployment(space, requested[at % len(requested)]),
            )
            for at, space in enumerate(self.spaces)
        )
        if pods:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            await self.api.each(
                ("POST", f"/api/v1/namespaces/{space}/serviceaccounts", account) for space in self.spaces
            )
            await self.api.each(
                ("POST", f"/api/v1/namespaces/{space}/pods", pod(space, number))
                for space in self.spaces
                for number in range(pods)
            )

    async def rotate(self) -> tuple[Callable[[], float], Callable[[], float]]:
        """Mint the main credential.

        Returns two functions to call after sync has seen it. The first returns the time at which sync
        learned of it, in seconds since the epoch. The second returns the seconds from the write of the index
        until that time.
        """
        _, read = self.audits()
        await asyncio.to_thread(self.mint)

        def written() -> float:
            return read.first("update", INDEX.replace("metadata", "data", 1), root=True)

        def learned() -> float:
            return read.first("read", INDEX, after=written())

        return learned, lambda: learned() - written()

    async def forget(self, name: str, spaces: Iterable[str]) -> None:
        """Delete a Secret in these namespaces."""
        await self.api.each(
            ("DELETE", f"/api/v1/namespaces/{space}/secrets/{name}", None) for space in spaces
        )

    def forget_ledger(self, *projects: str) -> None:
        """Delete the ledger of sync for these projects."""
        for project in projects:
            self.mount.kv.delete(f"status/{CLUSTER}/{project}")

    def audits(self) -> tuple[ApiAudit, VaultAudit]:
        """The audit logs of the API server and Vault from now on."""
        return ApiAudit(self.stack.kubernetes.audit_log), VaultAudit(self.stack.vault.audit_log)

    def servers(self) -> tuple[Cost, Cost]:
        """The cost of the API server and of etcd from now on."""
        processes = self.stack.processes
        return Cost(processes.pid("kube-apiserver") or 0), Cost(processes.pid("etcd") or 0)


@asynccontextmanager
async def world(stack: Stack):
    """Start a control plane and OpenBao, and install the chart."""
    await asyncio.to_thread(stack.up, ["vault", "kubernetes"])
    product = Product(stack)
    await asyncio.to_thread(product.install_chart)
    async with Api.open(stack) as api:
        yield World(stack, api, product)


class Sync:
    """``functions/sync/app.py`` in a separate process, with its own ServiceAccount."""

    def __init__(self, world: World, **settings: str) -> None:
        self._world = world
        self._product = world.product
        self._settings = {"GRACE_SECONDS": "600", "LOG_LEVEL": "info", "POLL_SECONDS": "2", **settings}

    def environment(self) -> dict[str, str]:
        """The environment variables that the chart gives the container."""
        return {**python_environment(), **self._product.sync_environment(self._settings)}

    def start(self, **settings: str) -> float:
        """Start sync without waiting; return the start time in seconds since the epoch."""
        self._settings |= settings
        environment = self.environment()
        started = time.time()
        command = [os.fspath(sys.executable), os.fspath(SYNC)]
        processes = self._world.stack.processes
        self.cost = Cost(
            processes.start(self._product.instance, command, ready=lambda: True, env=environment)
        )
        return started

    def stop(self) -> None:
        """Stop sync, and wait for its end."""
        self._product.stop_sync(grace=15)

    def import_seconds(self) -> float:
        """Measure how long Python takes to start and to import what sync imports."""
        code = "import " + ", ".join(LOADED)
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", code], env=self.environment(), check=True, cwd=SYNC.parent)
        return time.monotonic() - started


class Floor:
    """The frozen client (floor.py) in a separate process, with sync's account."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def start(self) -> None:
        """Start the client and wait until it accepts orders."""
        account = await asyncio.to_thread(
            self._world.stack.kubernetes.service_account_kubeconfig, NAMESPACE, ACCOUNT_NAME, seconds=86400
        )
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            Path(__file__).with_name("floor.py"),
            account,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=python_environment(),
        )
        await self._answer()

    async def write(self, method: str, version: int, spaces: Iterable[str]) -> dict[str, float]:
        """Send one request to each namespace."""
        body = self._world.floor_body(version)
        order = {"do": "write", "method": method, "name": FLOOR.secret_name, "body": body}
        await self._order({**order, "namespaces": list(spaces)})
        answer = await self._answer()
        if answer["failed"]:
            raise RuntimeError(f"{answer['failed']} requests of the floor failed")
        return answer

    async def react(self, version: int) -> None:
        """From now on, create a Secret for each new Deployment with the floor's label."""
        await self._order({"do": "react", "name": FLOOR.secret_name, "body": self._world.floor_body(version)})
        await self._answer()

    async def stop(self) -> None:
        """Stop the client."""
        assert self._process.stdin
        self._process.stdin.close()
        await self._process.wait()

    async def _order(self, order: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()

    async def _answer(self) -> dict[str, float]:
        assert self._process.stdout
        answer: dict[str, float] = json.loads(await self._process.stdout.readline())
        return answer


def namespace(name: str, **metadata: Any) -> dict[str, Any]:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}


def deployment(
    space: str, references: Iterable[Reference] = (), *, labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """A Deployment that requests registries. It has no replicas, because there is no node."""
    annotations = {
        f"registry.regcred.dev/r{number}": str(reference) for number, reference in enumerate(references)
    }
    pod = {"containers": [{"name": "app", "image": "registry.example.com/team/app:1"}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app", "namespace": space, "annotations": annotations, "labels": labels or {}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "app"}},
            "template": {"metadata": {"labels": {"app": "app"}}, "spec": pod},
        },
    }


def pod(space: str, number: int) -> dict[str, Any]:
    """A Pod that stays Pending.

    Its metadata is as long as that of a running Pod: about 2.9 kB, most of which is managedFields there.
    """
    padding = {"example.com/padding": "x" * 2000}
    spec = {
        "schedulingGates": [{"name": "example.com/bench"}],
        "containers": [{"name": "app", "image": "registry.example.com/team/app:1"}],
    }
    metadata = {"name": f"pod-{number}", "namespace": space, "annotations": padding}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
