"""Deleted or edited Secrets, and a cluster under the name of another one, on a real API server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from real.controlplane import Caller, Cluster, pod
from real.syncing import CLUSTER, Audit, World, world_of

from realparts.stack import Stack
from realparts.waiting import eventually
from regcred.clock import utc_now
from regcred.vault.records.identity import ClusterIdentity

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


@pytest.fixture
def world(kubernetes_stack: Stack, cluster: Cluster, tmp_path: Path) -> Iterator[World]:
    with world_of(kubernetes_stack, cluster, tmp_path) as world:
        yield world


def owner(world: World, space: str) -> Caller:
    """The owner of a namespace, with all rights in it and none outside."""
    kubernetes = world.stack.kubernetes
    world.cluster.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "owner", "namespace": space}}
    )
    kubernetes.kubectl(
        "-n",
        space,
        "create",
        "rolebinding",
        "owner",
        "--clusterrole=admin",
        f"--serviceaccount={space}:owner",
    )
    return world.cluster.session(kubernetes.service_account_token(space, "owner"))


def miss(world: World, space: str, *names: str) -> None:
    """Write the Event that a kubelet writes (k8s.io/kubernetes pkg/kubelet/kubelet_pods.go)."""
    listed = ", ".join(names)
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"app.{time.time_ns():x}", "namespace": space},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "app", "namespace": space},
        "type": "Warning",
        "reason": "FailedToRetrieveImagePullSecret",
        "message": (
            f"Unable to retrieve some image pull secrets ({listed}); attempting to pull the image may not "
            "succeed."
        ),
        "source": {"component": "kubelet", "host": "node-1"},
    }
    world.stack.kubernetes.request("POST", f"/api/v1/namespaces/{space}/events", event)


def delete(world: World, space: str) -> None:
    world.stack.kubernetes.request("DELETE", f"/api/v1/namespaces/{space}/secrets/{world.name}")


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("DELETE", None),
        ("PATCH", {"data": {".dockerconfigjson": "e30="}}),
        ("PATCH", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}),
        ("PATCH", {"immutable": True}),
        ("PATCH", {"metadata": {"finalizers": ["example.com/stay"]}}),
        ("PATCH", {"metadata": {"annotations": {"replicator.v1.mittwald.de/replicate-to": "elsewhere"}}}),
    ],
)
def test_the_owner_of_a_namespace_cannot_break_its_pull_secret_and_sees_why(
    world: World, verb: str, body: dict[str, object] | None
) -> None:
    space = world.namespace()
    world.running()
    eventually(lambda: world.password(space))
    path = f"/api/v1/namespaces/{space}/secrets/{world.name}"
    answer = owner(world, space).call(verb, path, body, content_type="application/merge-patch+json")
    assert answer.status_code == requests.codes.unprocessable, answer.text
    assert "is managed by Regcred" in answer.json()["message"]
    assert f"regcred rotate {world.ref}" in answer.json()["message"]
    assert world.password(space) == "s3cret-one"


OURS = {"app.kubernetes.io/managed-by": "regcred"}
COPY = {
    "type": "kubernetes.io/dockerconfigjson",
    "data": {".dockerconfigjson": "e30="},
    "metadata": {
        "name": "regcred.shop.main-x-team-x-virtual",
        "labels": OURS,
        "annotations": {"regcred.dev/reference": "shop/main"},
    },
}
"""A copy of a Secret of Regcred, as vcluster writes it in the host cluster.

Contract: github.com/loft-sh/vcluster pkg/util/translate (SingleNamespaceHostName, HostMetadata).
"""


def test_the_owner_keeps_all_rights_on_other_secrets_and_the_namespace_can_be_deleted(world: World) -> None:
    space = world.namespace()
    world.running()
    eventually(lambda: world.password(space))
    tenant = owner(world, space)
    path = f"/api/v1/namespaces/{space}/secrets"
    others: list[dict[str, Any]] = [
        {"metadata": {"name": "mine", "labels": OURS}},
        {"metadata": {"name": "regcred.not.ours", "labels": {}}},
        COPY,
    ]
    for other in others:
        name = other["metadata"]["name"]
        assert tenant.call("POST", path, {"apiVersion": "v1", "kind": "Secret", **other}).ok
        change = {"data": {"a": "e30="}}
        changed = tenant.call("PATCH", f"{path}/{name}", change, content_type="application/merge-patch+json")
        assert changed.ok, changed.text
        assert tenant.call("DELETE", f"{path}/{name}").ok
    world.stack.kubernetes.request("DELETE", f"/api/v1/namespaces/{space}")
    eventually(lambda: not world.stack.kubernetes.get(f"/api/v1/namespaces/{space}").ok)
    world.cluster._namespaces.remove(space)


def test_a_deleted_secret_is_back_within_five_seconds_of_the_event_of_a_pod(
    world: World,
) -> None:
    space = world.namespace()
    sync = world.running()
    eventually(lambda: world.password(space))
    time.sleep(1)  # until sync watches Events
    delete(world, space)
    audit = Audit(world.stack)
    time.sleep(2)
    assert audit.requests() == [], "sync sends no request until a Pod needs the Secret"
    miss(world, space, "somebody-elses", world.name)
    eventually(lambda: world.password(space), seconds=5)
    assert sync.metric("regcred_drift_repairs_total") == 1


def test_a_new_workload_brings_a_deleted_secret_back(world: World) -> None:
    space = world.namespace()
    world.running()
    eventually(lambda: world.password(space))
    delete(world, space)
    world.cluster.create(pod(space, "late", annotations={"registry.regcred.dev/main": world.ref}))
    eventually(lambda: world.password(space), seconds=5)


def test_forged_events_cause_one_write_and_delay_nobody(world: World) -> None:
    space, other = world.namespace(), world.namespace(workload_too=False)
    world.running()
    eventually(lambda: world.password(space))
    time.sleep(1)
    audit = Audit(world.stack)
    for _ in range(100):
        miss(world, space, world.name, *[f"regcred.made-up.r{n}" for n in range(20)])
    world.annotate(other)
    eventually(lambda: world.password(other), seconds=5)
    assert len([entry for entry in audit.requests("update") if entry[1] == "secrets"]) == 1


def test_another_cluster_under_the_same_name_writes_nothing(world: World) -> None:
    space = world.namespace()
    found = world.mount.store.identity(CLUSTER)
    world.mount.store.forget_identity(CLUSTER)
    world.mount.store.pin_identity(CLUSTER, ClusterIdentity(uid="of-another-cluster", pinned_at=utc_now()))
    try:
        audit = Audit(world.stack)
        for arguments in ((), ("--dry-run",)):
            code, output = world.sync().once(*arguments)
            assert code == 1
            assert f"the name {CLUSTER} belongs to another cluster" in output
            assert f"regcred cluster reset {CLUSTER}" in output
        process = world.sync().start()
        assert process.wait(30) == 1, "the loop ends, too"
        assert audit.requests("create", "update", "delete", "patch") == []
        assert world.placed() == {}
    finally:
        world.mount.store.forget_identity(CLUSTER)
    world.running()
    eventually(lambda: world.password(space))
    pinned = world.mount.store.identity(CLUSTER)
    assert pinned
    uid = world.stack.kubernetes.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    assert pinned.value.uid == uid
    assert not found or found.value.uid == uid


def test_a_name_without_grants_writes_no_events(world: World) -> None:
    world.mount.kv.delete(f"platform/clusters/{CLUSTER}")
    space = world.namespace(granted=False)
    audit = Audit(world.stack)
    sync = world.running()
    eventually(
        lambda: sync.metric(f'regcred_vault_document_known{{document="platform/clusters/{CLUSTER}"}}') == 0
    )
    time.sleep(2)
    assert audit.requests("create", "update", "delete") == []
    assert world.events(space) == []
    assert f"there is no document platform/clusters/{CLUSTER}" in sync.log.read_text()
