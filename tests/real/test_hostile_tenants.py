"""*sync* under its memory limit while tenants write what costs most, against a real API server and a real OpenBao."""

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
from real.controlplane import KINDS, POLICIES, RBAC, Cluster, pod_template, workload
from real.syncing import CLUSTER, SyncProcess, allow_project, mount_of

from realparts.stack import Stack
from realparts.waiting import eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

LIMIT = 256
"""MiB: the chart's limit."""

SERVED_WITHIN = 5.0
BUSY = 4
"""How many times as long as beside no hostile object, on a machine where even that takes more than a second."""

KEYS = 9000
"""Annotations of one hostile object."""

LABEL = {"regcred.dev/annotated": "true"}
"""A tenant can set it without the policies. Then sync watches all annotations of the object."""

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
    """A control plane without the policies on workloads: they take the API server seconds for one such object.

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


class Tenants:
    """A namespace that writes what costs most, and others that only want their Secret."""

    def __init__(self, cluster: Cluster, mount: Mount) -> None:
        self.cluster = cluster
        self.hostile = cluster.namespace()
        self._others = [cluster.namespace() for _ in range(6)]
        mount.grant({PROJECT: list(self._others)})

    def write(self) -> None:
        """Write 130 objects with a large environment value, and 70 with thousands of malformed references.

        Most are suspended CronJobs, which no controller touches: its writes would cost the API server more than ours.
        """
        sizes = [self._object(f"env-{n}", env="a" * 1_000_000) for n in range(130)]
        counts = [self._object(f"keys-{n}") for n in range(70)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.cluster.create, [*sizes, *counts]))
            list(pool.map(self.annotate, range(70)))

    def annotate(self, number: int, value: str = "x") -> None:
        """Give an object thousands of annotations; without managedFields, for which the API server takes seconds an object."""
        item = self._object(f"keys-{number}")
        item["metadata"] |= {
            "managedFields": [{}],
            "annotations": {f"registry.regcred.dev/k{n:05}": value for n in range(KEYS)},
        }
        path = f"{KINDS[item['kind']].format(self.hostile)}/{item['metadata']['name']}"
        self.cluster.kubernetes.request("PUT", path, item)

    def edit(self, times: int) -> None:
        """Change one object again and again."""
        for number in range(times):
            self.annotate(0, f"{number}")

    def _object(self, name: str, *, env: str = "") -> dict[str, Any]:
        kind = "Deployment" if name in {"keys-0", "env-0"} else "CronJob"
        item = asleep(workload(kind, self.hostile, name))
        item["metadata"]["labels"] = dict(LABEL)
        if env:
            (container,) = pod_template(item)["spec"]["containers"]
            pod_template(item)["spec"]["containers"] = [{**container, "env": [{"name": "A", "value": env}]}]
        return item

    def served_within(self) -> float:
        """How long another tenant waits for its Secret, from the Deployment on."""
        space = self._others.pop()
        started = time.monotonic()
        annotations = {"registry.regcred.dev/main": f"{PROJECT}/main"}
        self.cluster.create(asleep(workload("Deployment", space, own=annotations)))
        path = f"/api/v1/namespaces/{space}/secrets/{SECRET}"
        eventually(lambda: self.cluster.kubernetes.get(path).ok, seconds=60)
        return time.monotonic() - started

    def notes(self) -> list[str]:
        """What the Events in the hostile namespace say."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self.hostile}/events?limit=500"
        return [event.get("note", "") for event in self.cluster.kubernetes.request("GET", path)["items"]]


@pytest.fixture(scope="module")
def tenants(kubernetes_stack: Stack, cluster: Cluster) -> Iterator[Tenants]:
    mount = mount_of(kubernetes_stack)
    allow_project(kubernetes_stack, mount, PROJECT)
    mount.mint(f"{PROJECT}/main", kubernetes_stack.remember_secret("s3cret-tenants"))
    yield Tenants(cluster, mount)
    mount.grant({})
    mount.kv.delete(f"status/{CLUSTER}/{PROJECT}")
    cluster.clean()


def asleep(item: dict[str, Any]) -> dict[str, Any]:
    """A workload that makes nothing."""
    item["spec"] |= {"suspend": True} if item["kind"] == "CronJob" else {"replicas": 0, "paused": True}
    return item


def is_quick(waited: float, calm: float) -> bool:
    return waited < max(SERVED_WITHIN, BUSY * calm)


def test_sync_survives_hostile_objects_within_its_memory_and_serves_others(
    kubernetes_stack: Stack, tenants: Tenants, limit: MemoryLimit, tmp_path: Path
) -> None:
    sync = LimitedSync(kubernetes_stack, tenants.cluster, tmp_path, limit=limit, REGCRED_MODE="none")
    try:
        sync.start()
        eventually(sync.ready)
        calm = tenants.served_within()
        tenants.write()
        fresh = tenants.served_within()
        sync.assert_up()
        sync.stop()
        sync.start()
        started = time.monotonic()
        eventually(lambda: sync.assert_up() or sync.ready())
        ready = time.monotonic() - started
        editing = threading.Thread(target=tenants.edit, args=(40,))
        editing.start()
        waited = tenants.served_within()
        editing.join()
        sync.assert_up()
        print(
            f"served within {fresh:.1f} s and {waited:.1f} s, {calm:.1f} s when calm; ready in {ready:.1f} s, "
            f"peak {limit.peak >> 20} MiB"
        )
        assert is_quick(fresh, calm), f"{fresh:.1f} s after all was written, {calm:.1f} s before"
        assert is_quick(waited, calm), f"{waited:.1f} s beside edits, {calm:.1f} s without"
        assert any(f"it has {KEYS} annotations" in note for note in tenants.notes())
        sync.stop()
    finally:
        if sync.process:
            sync.kill()


def test_so_it_does_where_the_policies_hand_out_the_secrets(
    kubernetes_stack: Stack, tenants: Tenants, limit: MemoryLimit, tmp_path: Path
) -> None:
    """The mode that the chart chooses for this cluster: what the API server sends is labelled metadata."""
    sync = LimitedSync(kubernetes_stack, tenants.cluster, tmp_path, limit=limit, REGCRED_MODE="admission")
    if not tenants.notes():  # it runs alone
        tenants.write()
    installed = tenants.cluster.install()
    try:
        sync.start()
        started = time.monotonic()
        eventually(lambda: sync.assert_up() or sync.ready())
        ready = time.monotonic() - started
        calm = tenants.served_within()
        editing = threading.Thread(target=tenants.edit, args=(5,))  # each takes the policies a second
        editing.start()
        waited = tenants.served_within()
        editing.join()
        sync.assert_up()
        print(
            f"served within {waited:.1f} s, {calm:.1f} s; ready in {ready:.1f} s, peak {limit.peak >> 20} MiB"
        )
        assert is_quick(waited, calm)
        sync.stop()
    finally:
        if sync.process:
            sync.kill()
        tenants.cluster.remove(installed)
