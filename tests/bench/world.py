"""What the sync finds: a cluster with the chart and many namespaces, a Vault with grants and credentials; and
the sync itself."""

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
"""What the floor writes: as long a name as :data:`MAIN`."""

TOKEN_LENGTH = 1800
"""About that of an ECR login."""

INDEX = f"regcred/metadata/credentials/{PROJECT}/_index"
"""What sync polls."""

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
"""What the function loads before it does anything; they bring all that it needs."""


class World:
    """The handle; made by :func:`world`."""

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

    def be_quiet(self) -> None:
        """Stop the controllers, which would write on their own."""
        for controller in ("kube-controller-manager", "kube-scheduler"):
            self.stack.processes.stop(controller)

    def mint(self, reference: Reference = MAIN) -> int:
        """Put a new credential in force, as rotate does."""
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
        self, count: int, asked: Sequence[Sequence[Reference]] = ((MAIN,),), *, pods: int = 0
    ) -> None:
        """Make namespaces, each with an annotated Deployment that asks for one of ``asked`` in turn, and with
        Pods."""
        self.be_quiet()
        self.spaces = [f"bench-{number:05d}" for number in range(count)]
        await self.api.each(("POST", "/api/v1/namespaces", namespace(space)) for space in self.spaces)
        await self.api.each(
            (
                "POST",
                f"/apis/apps/v1/namespaces/{space}/deployments",
                deployment(space, asked[at % len(asked)]),
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
        """Mint the main credential; tells, once sync has seen it, when that was, and the seconds from the
        index's writing."""
        _, read = self.audits()
        await asyncio.to_thread(self.mint)

        def written() -> float:
            return read.first("update", INDEX.replace("metadata", "data", 1), root=True)

        def learned() -> float:
            return read.first("read", INDEX, after=written())

        return learned, lambda: learned() - written()

    async def forget(self, name: str, spaces: Iterable[str]) -> None:
        """Delete a Secret everywhere, as if it had never been made."""
        await self.api.each(
            ("DELETE", f"/api/v1/namespaces/{space}/secrets/{name}", None) for space in spaces
        )

    def forget_ledger(self, *projects: str) -> None:
        """Delete what sync knows of what it has made."""
        for project in projects:
            self.mount.kv.delete(f"status/{CLUSTER}/{project}")

    def audits(self) -> tuple[ApiAudit, VaultAudit]:
        """Both audit logs from now on."""
        return ApiAudit(self.stack.kubernetes.audit_log), VaultAudit(self.stack.vault.audit_log)

    def servers(self) -> tuple[Cost, Cost]:
        """What the API server and etcd cost from now on."""
        processes = self.stack.processes
        return Cost(processes.pid("kube-apiserver") or 0), Cost(processes.pid("etcd") or 0)


@asynccontextmanager
async def world(stack: Stack):
    """A control plane, OpenBao, and the chart."""
    await asyncio.to_thread(stack.up, ["vault", "kubernetes"])
    product = Product(stack)
    await asyncio.to_thread(product.install_chart)
    async with Api.open(stack) as api:
        yield World(stack, api, product)


class Sync:
    """``functions/sync/app.py`` as a process of its own, as its own account."""

    def __init__(self, world: World, **settings: str) -> None:
        self._world = world
        self._product = world.product
        self._settings = {"GRACE_SECONDS": "600", "LOG_LEVEL": "info", "POLL_SECONDS": "2", **settings}

    def environment(self) -> dict[str, str]:
        """What the chart gives the container."""
        return {**python_environment(), **self._product.sync_environment(self._settings)}

    def start(self, **settings: str) -> float:
        """Start it without waiting; when that was, in seconds since the epoch."""
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
        """Ask it to end, and wait."""
        self._product.stop_sync(grace=15)

    def importing(self) -> float:
        """Seconds that the interpreter takes to start and to load what sync loads."""
        code = "import " + ", ".join(LOADED)
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", code], env=self.environment(), check=True, cwd=SYNC.parent)
        return time.monotonic() - started


class Floor:
    """The frozen client as a process of its own, as sync's account."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def start(self) -> None:
        """Start it and wait until it can take orders."""
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
        """From now on answer each new Deployment of the floor's label."""
        await self._order({"do": "react", "name": FLOOR.secret_name, "body": self._world.floor_body(version)})
        await self._answer()

    async def stop(self) -> None:
        """End it."""
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
    """A Deployment that asks for registries; it has no replicas, since there is no node."""
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
    """A Pod that stays Pending, with metadata as long as a running one's (about 2.9 kB, there most of it
    managedFields)."""
    padding = {"example.com/padding": "x" * 2000}
    spec = {
        "schedulingGates": [{"name": "example.com/bench"}],
        "containers": [{"name": "app", "image": "registry.example.com/team/app:1"}],
    }
    metadata = {"name": f"pod-{number}", "namespace": space, "annotations": padding}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
