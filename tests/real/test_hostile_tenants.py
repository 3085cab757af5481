"""Sync under its memory limit while tenants write the most expensive objects, in both of its ways to watch.

The API server and OpenBao are real.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.sync_world import Mount
from helm import Object, of_group, render
from real.cgroup import memory_limit
from real.controlplane import KINDS, POLICIES, RBAC, Cluster, pod_template, workload
from real.syncing import CLUSTER, SyncProcess, allow_project, mount_of

from realparts.stack import Stack
from realparts.waiting import eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

LIMIT = 256
"""The memory limit of the chart, in MiB."""

SERVED_WITHIN = 5.0
"""Seconds in which another tenant gets its Secret."""

BUSY = 4
"""On a slow machine, how many times longer than without hostile objects this may take."""

KEYS = 9000
"""Annotations of one hostile object."""

NESTED = 9_000
"""Levels of an object. The API server allows 10,000, and Python's parsers of JSON about 1,000."""

EDITS = {"none": 40, "admission": 5}
"""By mode, how often an object is changed in the meantime. The mutating policies need a second each time."""

PROJECT = "tenants"
SECRET = f"regcred.{PROJECT}.main"


class LimitedSync(SyncProcess):
    """The sync inside a memory limit."""

    def __init__(self, *args: Any, wrap: Any, **settings: str) -> None:
        super().__init__(*args, **settings)
        self._wrap = wrap

    def command(self, *arguments: str) -> list[str]:
        wrapped: list[str] = self._wrap(super().command(*arguments))
        return wrapped

    def assert_up(self) -> None:
        assert self.process
        assert self.process.poll() is None, "sync was killed"


@pytest.fixture(scope="module")
def cluster(kubernetes_stack: Stack) -> Iterator[Cluster]:
    """A control plane without the mutating policies.

    They take the API server seconds for one hostile object, so they are installed after the objects.
    """
    cluster = Cluster(kubernetes_stack.kubernetes)
    if not kubernetes_stack.kubernetes.get("/api/v1/namespaces/regcred-system").ok:
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "regcred-system"}})
    rendered = render({"mode": "none", "admissionPolicies.enabled": False})
    objects = [
        *of_group(rendered, POLICIES, RBAC),
        *(item for item in rendered if item["kind"] == "ServiceAccount"),
    ]
    try:
        kubernetes_stack.kubernetes.apply(*objects)
        yield cluster
    finally:
        cluster.remove(objects)


class Tenants:
    """A namespace with expensive objects, and others that only need their Secret."""

    def __init__(self, cluster: Cluster, mount: Mount) -> None:
        self.cluster = cluster
        self.hostile = cluster.namespace()
        self._others = [cluster.namespace() for _ in range(3)]
        mount.grant({PROJECT: list(self._others)})

    def write(self) -> None:
        """Write 130 objects with a large environment value, and 70 with thousands of malformed references.

        Most are suspended CronJobs, which no controller writes to. All have the label by which sync finds
        annotated workloads.
        """
        items = [
            *(self._object(f"env-{n}", env="a" * 1_000_000) for n in range(130)),
            *(self._object(f"keys-{n}") for n in range(70)),
        ]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.cluster.create, items))
            list(pool.map(self.annotate, range(70)))
        self._nest()

    def annotate(self, number: int, value: str = "x") -> None:
        """Give an object thousands of annotations.

        It has no managedFields, because the API server needs seconds to compute them for each object.
        """
        item = self._object(f"keys-{number}")
        item["metadata"] |= {
            "managedFields": [{}],
            "annotations": {f"registry.regcred.dev/k{n:05}": value for n in range(KEYS)},
        }
        path = f"{KINDS[item['kind']].format(self.hostile)}/{item['metadata']['name']}"
        self.cluster.kubernetes.request("PUT", path, item)

    def _nest(self) -> None:
        """Create an object that is nested as deeply as the API server allows, in an unused field."""
        item = self._object("nested")
        fields = {"manager": "x", "operation": "Update", "apiVersion": "batch/v1", "fieldsType": "FieldsV1"}
        item["metadata"]["managedFields"] = [{**fields, "fieldsV1": "DEEP"}]
        text = json.dumps(item).replace('"DEEP"', '{"f:a":' * NESTED + "{}" + "}" * NESTED)
        self.cluster.kubernetes.kubectl("create", "--validate=false", "-f", "-", stdin=text)

    @contextmanager
    def edited(self, times: int) -> Iterator[None]:
        """Change an object again and again in the meantime."""
        editing = threading.Thread(target=lambda: [self.annotate(0, f"{n}") for n in range(times)])
        editing.start()
        try:
            yield
        finally:
            editing.join()

    def _object(self, name: str, *, env: str = "") -> Object:
        kind = "Deployment" if name in {"keys-0", "env-0"} else "CronJob"
        item = asleep(workload(kind, self.hostile, name))
        item["metadata"]["labels"] = {"regcred.dev/annotated": "true"}
        if env:
            (container,) = pod_template(item)["spec"]["containers"]
            pod_template(item)["spec"]["containers"] = [{**container, "env": [{"name": "A", "value": env}]}]
        return item

    def seconds_to_serve(self) -> float:
        """Create a Deployment of another tenant, and return the seconds until its Secret exists."""
        space = self._others.pop()
        started = time.monotonic()
        annotations = {"registry.regcred.dev/main": f"{PROJECT}/main"}
        self.cluster.create(asleep(workload("Deployment", space, own=annotations)))
        path = f"/api/v1/namespaces/{space}/secrets/{SECRET}"
        eventually(lambda: self.cluster.kubernetes.get(path).ok, seconds=60)
        return time.monotonic() - started

    def notes(self) -> list[str]:
        """The notes of the Events in the hostile namespace."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self.hostile}/events?limit=500"
        return [event.get("note", "") for event in self.cluster.kubernetes.request("GET", path)["items"]]


def asleep(item: Object) -> Object:
    """Make a workload create no Pods."""
    item["spec"] |= {"suspend": True} if item["kind"] == "CronJob" else {"replicas": 0, "paused": True}
    return item


@contextmanager
def limited(stack: Stack, cluster: Cluster, folder: Path, mode: str) -> Iterator[LimitedSync]:
    """Run sync under the memory limit, and wait until it is ready."""
    with memory_limit(LIMIT) as limit:
        sync = LimitedSync(stack, cluster, folder, wrap=limit.wrap, REGCRED_MODE=mode)
        sync.start()
        try:
            eventually(lambda: sync.assert_up() or sync.ready())
            yield sync
            sync.assert_up()
            print(f"mode {mode}: peak {limit.peak >> 20} MiB")
            sync.stop()
        finally:
            if sync.process:
                sync.kill()


@pytest.fixture(scope="module")
def calm() -> list[float]:
    """The seconds that a tenant waited before there were hostile objects; empty until they are measured."""
    return []


@pytest.fixture(scope="module")
def tenants(
    kubernetes_stack: Stack, cluster: Cluster, calm: list[float], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tenants]:
    mount = mount_of(kubernetes_stack)
    try:
        allow_project(kubernetes_stack, mount, PROJECT)
        mount.mint(f"{PROJECT}/main", kubernetes_stack.remember_secret("s3cret-tenants"))
        tenants = Tenants(cluster, mount)
        with limited(kubernetes_stack, cluster, tmp_path_factory.mktemp("calm"), "none"):
            calm.append(tenants.seconds_to_serve())
        tenants.write()
        yield tenants
    finally:  # otherwise every later sync reads these megabytes
        cluster.clean()
        mount.grant({})
        mount.kv.delete(f"status/{CLUSTER}/{PROJECT}")


@contextmanager
def mutating_policies(cluster: Cluster, mode: str) -> Iterator[None]:
    """The mutating policies, in the mode that has them."""
    chart = of_group(render({"mode": mode}), POLICIES) if mode == "admission" else []
    policies = [item for item in chart if item["kind"].startswith("Mutating")]
    try:
        if policies:
            cluster.kubernetes.apply(*policies)
            cluster.wait_until_in_force()
        yield
    finally:
        if policies:
            cluster.remove(policies)


@pytest.mark.parametrize("mode", EDITS)
def test_sync_survives_hostile_objects_within_its_memory_and_serves_others(
    kubernetes_stack: Stack, tenants: Tenants, calm: list[float], tmp_path: Path, mode: str
) -> None:
    """Sync watches whole objects in mode none, and metadata of labelled objects in mode admission."""
    with (
        mutating_policies(tenants.cluster, mode),
        limited(kubernetes_stack, tenants.cluster, tmp_path, mode),
        tenants.edited(EDITS[mode]),
    ):
        waited = tenants.seconds_to_serve()
        print(f"served within {waited:.1f} s, {calm[0]:.1f} s when calm")
        assert waited < max(SERVED_WITHIN, BUSY * calm[0]), f"{calm[0]:.1f} s without the hostile objects"
    assert any(f"it has {KEYS} annotations" in note for note in tenants.notes())
