"""*sync* under its memory limit while tenants write what costs most, against a real API server and a real OpenBao."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes.sync_world import Mount
from real.cgroup import MemoryLimit, memory_limit
from real.controlplane import Cluster, workload
from real.syncing import CLUSTER, SyncProcess, allow_project, mount_of

from realparts.stack import Stack
from realparts.waiting import eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

LIMIT = 256
"""MiB: the chart's limit."""

SERVED_WITHIN = 5.0
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


@pytest.fixture
def limit() -> Iterator[MemoryLimit]:
    with memory_limit(LIMIT) as limit:
        yield limit


@pytest.fixture
def mount(kubernetes_stack: Stack, cluster: Cluster) -> Iterator[Mount]:
    mount = mount_of(kubernetes_stack)
    allow_project(kubernetes_stack, mount, PROJECT)
    mount.mint(f"{PROJECT}/main", kubernetes_stack.remember_secret("s3cret-tenants"))
    yield mount
    mount.grant({})
    mount.kv.delete(f"status/{CLUSTER}/{PROJECT}")
    cluster.clean()


def keys(number: int, value: str = "x") -> dict[str, str]:
    return {f"registry.regcred.dev/k{n:05}": value for n in range(number)}


def with_env(space: str, name: str, *, size: int) -> dict[str, Any]:
    item = workload("Deployment", space, name)
    item["spec"]["replicas"] = 0
    container = item["spec"]["template"]["spec"]["containers"][0]
    item["spec"]["template"]["spec"]["containers"] = [
        {**container, "env": [{"name": "A", "value": "a" * size}]}
    ]
    return item


def asleep(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "spec": {**item["spec"], "replicas": 0}}


def create_all(cluster: Cluster, items: list[dict[str, Any]]) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(cluster.create, items))


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
    with cluster.without_policies():  # on this machine they take seconds for one such object
        _is_served_beside(
            hostile, cluster, mount, LimitedSync(kubernetes_stack, cluster, tmp_path, limit=limit)
        )
        print("PEAK MiB", limit.peak >> 20)


def _is_served_beside(hostile: str, cluster: Cluster, mount: Mount, sync: LimitedSync) -> None:
    create_all(
        cluster,
        [asleep(workload("Deployment", hostile, f"keys-{n}", own=keys(9000))) for n in range(70)]
        + [with_env(hostile, f"env-{n}", size=1_000_000) for n in range(130)],
    )
    sync.start()
    try:
        eventually(lambda: sync.assert_up() or sync.ready(), seconds=60)
        ended = threading.Event()

        def edit() -> None:
            for number in range(40):
                if ended.is_set():
                    return
                cluster.annotate("Deployment", hostile, "keys-0", keys(9000, f"x{number}"))

        editing = threading.Thread(target=edit)
        editing.start()
        waited = served_within(cluster, mount)
        editing.join()
        ended.set()
        assert waited < SERVED_WITHIN
        sync.assert_up()
        told = {
            note
            for event in cluster.kubernetes.request(
                "GET", f"/apis/events.k8s.io/v1/namespaces/{hostile}/events?limit=500"
            )["items"]
            if "more annotations" in (note := event.get("note", ""))
        }
        assert any("8992 more annotations" in note for note in told), "the rest is told in one line"
        sync.stop()
    finally:
        if sync.process:
            sync.kill()
