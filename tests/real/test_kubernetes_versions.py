"""The chart and sync on older Kubernetes versions: the mode, the rights, and a Pod that finds its credential.

The oldest supported version always runs, the others only by `make test-kubernetes`. All other tests run on
the newest.
"""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from real.chartrelease import Release
from real.controlplane import Cluster, pod, references, secret_names, workload
from real.syncing import ACCOUNT, World, world_of

from realparts.build import KUBERNETES, binary
from realparts.stack import Stack
from realparts.waiting import eventually
from regcred.cluster.annotations import KEYS_MAX, REQUEST_PREFIX, requested

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
BETA = {
    "runtime-config": "admissionregistration.k8s.io/v1beta1=true",
    "feature-gates": "MutatingAdmissionPolicy=true",
}
IMAGE = "registry.example.com/app:1"


@dataclass
class Older:
    """A cluster of an older version with the chart's release in it."""

    cluster: Cluster
    release: Release
    stack: Stack
    version: str
    mode: str
    """What `mode: auto` is expected to choose."""
    notes: str
    """The output of the command in the README."""

    def sync_settings(self) -> dict[str, str]:
        """The settings about modes that the chart gives sync."""
        path = f"/apis/apps/v1/namespaces/{ACCOUNT[0]}/deployments/{ACCOUNT[1]}"
        (container,) = self.stack.kubernetes.request("GET", path)["spec"]["template"]["spec"]["containers"]
        env = {entry["name"]: entry["value"] for entry in container["env"]}
        names = ("REGCRED_MODE", "REGCRED_ALLOWED_MODES", "REGCRED_EVICT_STUCK_PODS")
        return {name: env[name] for name in names if name in env}


def cases() -> list[Any]:
    """The versions, each with its API server's flags, the mode that `auto` must choose, and its storage.

    k3s stores its objects in SQLite behind kine instead of etcd.
    """
    every = pytest.mark.every_kubernetes
    return [
        pytest.param(("1.30", {}, "serviceaccount", "etcd"), id="1.30"),
        pytest.param(("1.34", {}, "serviceaccount", "etcd"), id="1.34", marks=every),
        pytest.param(("1.34", BETA, "admission", "etcd"), id="1.34-with-the-beta", marks=every),
        pytest.param(("1.35", {}, "serviceaccount", "etcd"), id="1.35", marks=every),
        pytest.param(("1.35", BETA, "admission", "etcd"), id="1.35-with-the-beta", marks=every),
        pytest.param(("1.36", {}, "admission", "kine"), id="1.36-on-kine", marks=every),
    ]


@pytest.fixture(scope="module", params=cases())
def older(request: pytest.FixtureRequest) -> Iterator[Older]:
    version, flags, mode, storage = request.param
    folder = ROOT / ".test" / f"kubernetes-{version}-{mode}-{storage}"
    stack = Stack(folder, kubernetes=version, apiserver_flags=flags, storage=storage)
    stack.down()
    try:
        stack.up(["vault", "kubernetes"])
        cluster = Cluster(stack.kubernetes)
        release = Release(cluster, ACCOUNT[0])
        found = Older(cluster, release, stack, version, mode, release.upgrade())
        yield found
    finally:
        stack.down()


@pytest.fixture
def world(older: Older, tmp_path: Path) -> Iterator[World]:
    with world_of(older.stack, older.cluster, tmp_path) as world:
        yield world


def test_the_command_of_the_readme_installs_and_the_notes_explain_the_mode(older: Older) -> None:
    assert older.stack.kubernetes.request("GET", "/version")["gitVersion"] == f"v{KUBERNETES[older.version]}"
    assert f"mode {older.mode}" in older.notes
    assert f"Mode {older.mode} was chosen because Kubernetes v{KUBERNETES[older.version]}" in older.notes


def test_a_pod_finds_its_credential(older: Older, world: World) -> None:
    """The kubelet's own code finds the login for the image. There is no node of this version."""
    space = world.namespace(workload_too=False)
    world.running(**older.sync_settings())
    world.annotate(space)
    eventually(lambda: world.password(space) == "s3cret-one")

    def a_new_pod_names_it() -> list[str]:
        return secret_names(
            older.cluster.create(pod(space, annotations={"registry.regcred.dev/main": world.ref}))
        )

    assert eventually(lambda: world.name in a_new_pod_names_it())
    stored = older.cluster.get("Secret", space, world.name)
    assert users_by_the_kubelet(stored) == [["AWS"]]
    world.grant({})
    eventually(lambda: world.password(space) is None)
    if older.mode == "serviceaccount":  # in mode admission, a Pod's own annotation names the Secret
        eventually(lambda: world.name not in a_new_pod_names_it())


def users_by_the_kubelet(secret: dict[str, Any]) -> list[list[str]]:
    document = b64decode(secret["data"][".dockerconfigjson"]).decode()
    host = next(iter(json.loads(document)["auths"]))
    question = json.dumps({"secrets": [document], "images": [f"{host.rstrip('/')}/app:1"]}) + "\n"
    done = subprocess.run([binary("keyring")], input=question, capture_output=True, text=True, check=True)
    found: list[list[str]] = json.loads(done.stdout)["users"]
    return found


def test_the_first_pod_recovers_without_a_person(older: Older, world: World) -> None:
    """In mode serviceaccount the first Pod can be older than the name in its ServiceAccount. It is evicted as
    soon as it can't pull."""
    space = world.namespace(workload_too=False)
    world.annotate(space)
    first = eventually(lambda: world.cluster.items("Pod", space))[0]
    if older.mode == "admission":
        assert secret_names(first) == [world.name]
        return
    assert secret_names(first) == []
    world.running(**older.sync_settings())
    eventually(lambda: world.password(space))
    world.cannot_pull(first)
    eventually(lambda: world.replaced(space))


@pytest.mark.parametrize("way", ["annotated", "prepared"])
def test_in_an_annotated_or_prepared_namespace_the_first_pod_of_a_workload_names_the_secret(
    older: Older, world: World, way: str
) -> None:
    if (older.mode, way) == ("admission", "prepared"):
        pytest.skip("only mode serviceaccount prepares namespaces")
    world.running(**older.sync_settings(), REGCRED_PREPARE_GRANTED="true" if way == "prepared" else "")
    annotations = {"registry.regcred.dev/main": world.ref} if way == "annotated" else {}
    space = world.namespace(workload_too=False, annotations=annotations)

    def a_new_pod_names_it() -> bool:
        return world.name in secret_names(older.cluster.create(pod(space), query="?dryRun=All"))

    eventually(a_new_pod_names_it)
    for name in map("app-{}".format, range(10)):
        world.cluster.create(workload("Deployment", space, name))
    eventually(lambda: len(world.cluster.items("Pod", space)) == 10)
    assert [secret_names(item) for item in world.cluster.items("Pod", space)] == [[world.name]] * 10


def test_a_user_who_applies_a_malformed_reference_gets_a_warning(older: Older) -> None:
    """The expressions of the warnings need functions that 1.30 does not have."""
    wrong = {"registry.regcred.dev/ecr": "a/b/c"}
    item = json.dumps(workload("Deployment", older.cluster.namespace(), template=wrong))
    shown = older.stack.kubernetes.kubectl("create", "--dry-run=server", "-f", "-", stdin=item).stderr
    assert ('registry.regcred.dev/ecr: "a/b/c"' in shown) == (older.version != "1.30")


def test_admission_and_sync_use_the_same_first_64_of_too_many_annotations(older: Older) -> None:
    if older.mode != "admission":
        pytest.skip("only mode admission changes workloads and Pods")
    space = older.cluster.namespace()
    own = {f"{REQUEST_PREFIX}k{n:05}": f"t/b{n % 5000:05}" for n in range(7000)}
    template = {f"{REQUEST_PREFIX}k{n:05}": f"t/a{n % 30:05}" for n in range(60)}
    made = older.cluster.create(workload("Deployment", space, own=own, template=template))
    found = requested(own, template).references
    assert len(found) == KEYS_MAX
    assert references(made) == ",".join(map(str, found))
    annotations = made["spec"]["template"]["metadata"]["annotations"]
    names = [reference.secret_name for reference in found]
    assert secret_names(older.cluster.create(pod(space, annotations=annotations))) == names


def test_sync_is_confined_to_its_own_secrets_and_reads_none(older: Older, world: World) -> None:
    caller = older.cluster.session(older.stack.kubernetes.service_account_token(*ACCOUNT))
    space = world.namespace(workload_too=False)
    path = f"/api/v1/namespaces/{space}/secrets"
    assert caller.call("GET", path).status_code == 403
    foreign = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "type": "Opaque"}
    answer = caller.call("POST", path, foreign)
    assert answer.status_code == 422
    assert "regcred-sync-secrets" in answer.json()["message"]


def test_other_users_may_not_change_a_secret_of_regcred(older: Older, world: World) -> None:
    space = world.namespace()
    world.running(**older.sync_settings())
    eventually(lambda: world.password(space))
    kubernetes = older.stack.kubernetes
    kubernetes.kubectl(
        "create", "clusterrolebinding", "edits", "--clusterrole=edit", "--user=somebody", check=False
    )
    config = kubernetes.kubeconfig_for("somebody")
    done = subprocess.run(
        [binary("kubectl"), f"--kubeconfig={config}", "-n", space, "delete", "secret", world.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "regcred-sync-drift" in done.stderr
    assert world.password(space)


def test_an_upgrade_changes_the_mode_and_an_uninstall_leaves_nothing(older: Older) -> None:
    assert "mode none" in older.release.upgrade({"mode": "none"})
    assert older.sync_settings()["REGCRED_MODE"] == "none"
    older.release.upgrade()
    assert older.sync_settings()["REGCRED_MODE"] == older.mode
    older.release.uninstall()
    kinds = (
        "deployments,serviceaccounts,clusterroles,clusterrolebindings,"
        "validatingadmissionpolicies,priorityclasses"
    )
    mine = "app.kubernetes.io/part-of=regcred"
    assert older.stack.kubernetes.kubectl("get", kinds, "-A", "-l", mine, "-o", "name").stdout == ""
    older.release.upgrade()
