"""*sync* under its memory limit while tenants write what costs most, against a real API server and a real
OpenBao."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes.sync_world import Mount
from helm import of_group, render
from real.cgroup import MemoryLimit, memory_limit
from real.controlplane import POLICIES, RBAC, Cluster, workload
from real.syncing import CLUSTER, SyncProcess, allow_project, mount_of

from realparts.stack import Stack
from realparts.waiting import eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

LIMIT = 256
"""MiB: the chart's limit."""

SERVED_WITHIN = 5.0
BUSY = 4
"""How many times as long as beside no hostile object, on a machine where even that takes more than a
second."""

EDIT_PAUSE = 0.5
"""Seconds between two edits: each takes the API server itself most of a second, and it is the sync that is
tested."""

PROJECT = "tenants"
SECRET = f"regcred.{PROJECT}.main"


class LimitedSync(SyncProcess):
    """The sync inside a memory limit."""

    def __init__(self, *args: Any, limit: MemoryLimit, **settings: str) -> None:
        super().__init__(*args, **settings)
        self._limit = limit

    def command(self, *arguments: str) -> list[str]:
        return self._limit.wrap(super().command(*arguments))

    def assert_up(self) -> None:
        assert self.process
        assert self.process.poll() is None, "sync was killed"


@pytest.fixture(scope="module")
def cluster(kubernetes_stack: Stack) -> Iterator[Cluster]:
    """A control plane without the policies on workloads: they take the API server seconds for one such
    object.

    The sync then watches objects whole, so nothing spares it what is in them.
    """
    cluster = Cluster(kubernetes_stack.kubernetes)
    if not kubernetes_stack.kubernetes.get("/api/v1/namespaces/regcred-system").ok:
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "regcred-system"}})
    rendered = render({"mode": "none", "admissionPolicies.enabled": False})
    objects = [
        *of_group(rendered, POLICIES, RBAC),
        *(item for item in rendered if item["kind"] == "ServiceAccount"),
    ]
    kubernetes_stack.kubernetes.apply(*objects)
    yield cluster
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    cluster.kubernetes.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=json.dumps(listed))


@pytest.fixture
def limit() -> Iterator[MemoryLimit]:
    with memory_limit(LIMIT) as limit:
        yield limit


@pytest.fixture
def mount(kubernetes_stack: Stack, cluster: Cluster) -> Iterator[Mount]:
    mount = mount_of(kubernetes_stack)
    allow_project(kubernetes_stack, mount, PROJECT)
    mount.mint(f"{PROJECT}/main", kubernetes_stack.remember_secret("s3cret-tenants"))
    try:
        yield mount
    finally:  # megabytes that stay here are read by every later sync
        cluster.clean()
        mount.grant({})
        mount.kv.delete(f"status/{CLUSTER}/{PROJECT}")


def keys(number: int, value: str = "x") -> dict[str, str]:
    return {f"registry.regcred.dev/k{n:05}": value for n in range(number)}


def with_env(space: str, name: str, *, size: int) -> dict[str, Any]:
    item = workload("Deployment", space, name)
    container = item["spec"]["template"]["spec"]["containers"][0]
    item["spec"]["template"]["spec"]["containers"] = [
        {**container, "env": [{"name": "A", "value": "a" * size}]}
    ]
    return asleep(item)


def asleep(item: dict[str, Any]) -> dict[str, Any]:
    """A Deployment that makes no ReplicaSet."""
    item["spec"] |= {"replicas": 0, "paused": True}
    return item


def create_all(cluster: Cluster, items: list[dict[str, Any]]) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(cluster.create, items))


def annotate_all(cluster: Cluster, space: str, names: list[str], annotations: dict[str, str]) -> None:
    """Replace annotations; without managedFields, for which the API server takes seconds an object."""

    def annotate(name: str) -> None:
        item = asleep(workload("Deployment", space, name, own=annotations))
        item["metadata"]["managedFields"] = [{}]
        cluster.kubernetes.request("PUT", f"/apis/apps/v1/namespaces/{space}/deployments/{name}", item)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(annotate, names))


def served_within(cluster: Cluster, mount: Mount) -> float:
    """How long a second tenant waits for its Secret, from the Deployment on."""
    space = cluster.namespace()
    mount.grant({PROJECT: [space]})
    time.sleep(2)  # the grants are polled each second
    started = time.monotonic()
    cluster.create(
        asleep(workload("Deployment", space, own={"registry.regcred.dev/main": f"{PROJECT}/main"}))
    )
    eventually(lambda: cluster.kubernetes.get(f"/api/v1/namespaces/{space}/secrets/{SECRET}").ok, seconds=60)
    return time.monotonic() - started


def test_sync_survives_hostile_objects_within_its_memory_and_serves_others(
    kubernetes_stack: Stack, cluster: Cluster, mount: Mount, limit: MemoryLimit, tmp_path: Path
) -> None:
    hostile = cluster.namespace()
    many_keys = [f"keys-{n}" for n in range(70)]
    sync = LimitedSync(kubernetes_stack, cluster, tmp_path, limit=limit, REGCRED_MODE="none")
    try:
        sync.start()
        eventually(sync.ready)
        calm = served_within(cluster, mount)
        sync.stop()
        create_all(cluster, [with_env(hostile, f"env-{n}", size=1_000_000) for n in range(130)])
        create_all(cluster, [asleep(workload("Deployment", hostile, name)) for name in many_keys])
        annotate_all(cluster, hostile, many_keys, keys(9000))
        eventually(lambda: settled(cluster, hostile), seconds=120)
        sync.start()
        eventually(lambda: sync.assert_up() or sync.ready())
        editing = threading.Thread(target=edit, args=(cluster, hostile))
        editing.start()
        waited = served_within(cluster, mount)
        editing.join()
        sync.assert_up()
        assert waited < max(SERVED_WITHIN, BUSY * calm), f"{calm:.1f} s without the hostile objects"
        assert any("it has 9000 annotations" in note for note in notes(cluster, hostile))
        print(f"served within {waited:.1f} s, {calm:.1f} s when calm, peak {limit.peak >> 20} MiB")
        sync.stop()
    finally:
        if sync.process:
            sync.kill()


def settled(cluster: Cluster, space: str) -> bool:
    """Whether the Deployment controller has seen all: its own writes are megabytes for every watch."""
    return all(
        item.get("status", {}).get("observedGeneration") == item["metadata"]["generation"]
        for item in cluster.items("Deployment", space)
    )


def edit(cluster: Cluster, space: str) -> None:
    """Change one object 40 times."""
    for number in range(40):
        annotate_all(cluster, space, ["keys-0"], keys(9000, f"{number}"))
        time.sleep(EDIT_PAUSE)


def notes(cluster: Cluster, space: str) -> list[str]:
    """What the Events in a namespace say."""
    path = f"/apis/events.k8s.io/v1/namespaces/{space}/events?limit=500"
    return [event.get("note", "") for event in cluster.kubernetes.request("GET", path)["items"]]
