"""The sync as a Pod on the real node: its image assembled, its chart installed, its token signing in to OpenBao."""

import json
import subprocess
import uuid
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import requests
from helm import CHART, REQUIRED, helm, settings
from pydantic import SecretStr
from real.controlplane import Cluster, eventually, secret_names, workload

from realparts.procs import free_ports
from realparts.stack import Stack
from regcred.credential import Credential, Login, Verified
from regcred.reference import Reference
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin
from regcred.vault.records import ClusterGrants, CredentialRecord, IndexEntry, ProjectPolicy, State
from regcred.vault.store import Store

pytestmark = [pytest.mark.real, pytest.mark.node, pytest.mark.timeout(600)]

NAMESPACE = "regcred-system"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:regcred-sync"
CLUSTER = "local"


@dataclass
class Installed:
    """The chart, installed on the node, and the parts around it."""

    stack: Stack
    cluster: Cluster
    store: Store
    port: int

    def pod(self) -> dict[str, Any]:
        """The sync's Pod, once it is ready."""

        def ready() -> dict[str, Any] | None:
            pods = [
                item
                for item in self.cluster.items("Pod", NAMESPACE)
                if "-test" not in item["metadata"]["name"]
            ]
            for pod in pods:
                conditions = pod["status"].get("conditions", [])
                if any(item["type"] == "Ready" and item["status"] == "True" for item in conditions):
                    return pod
            return None

        found: dict[str, Any] = eventually(ready, timeout=120)
        return found

    def log(self, pod: str = "regcred-sync") -> str:
        """What a Pod of the sync has logged, from the node's own files."""
        folders = (self.stack.node.directory / "pod-logs").glob(f"{NAMESPACE}_{pod}*")
        return "".join(path.read_text() for folder in folders for path in sorted(folder.rglob("*.log")))

    def requests_of_sync(self) -> list[dict[str, Any]]:
        """What the API server's audit log says that the sync's Pod has asked for."""
        name = self.pod()["metadata"]["name"]
        lines = self.stack.kubernetes.audit_log.read_text().splitlines()
        entries = [json.loads(line) for line in lines if name in line and ACCOUNT in line]
        return [
            entry
            for entry in entries
            if entry["user"].get("extra", {}).get("authentication.kubernetes.io/pod-name") == [name]
        ]

    def publish(self, reference: Reference, *, user: str, password: str) -> None:
        """Put a credential into Vault, as rotate does."""
        now = datetime.now(UTC).replace(microsecond=0)
        login = Login(user, SecretStr(password), (self.stack.registry.host,))
        fingerprint = uuid.uuid4().hex
        record = CredentialRecord.of(
            Credential("basic", (login,), now), reference=reference, fingerprint=fingerprint
        )
        version = self.store.write_credential(reference, record, cas=self.store.credential_version(reference))
        entry = IndexEntry(
            state=State.OK, version=version, fingerprint=fingerprint, verified=Verified.YES, changed_at=now
        )
        self.store.merge_index(reference.project, {reference.registry: entry})

    def grant(self, project: str, namespace: str) -> None:
        """Let a namespace use a project, as a platform admin does."""

        def granted(old: ClusterGrants | None) -> ClusterGrants:
            grants = dict(old.grants) if old else {}
            return ClusterGrants(grants={**grants, project: [*grants.get(project, []), namespace]})

        self.store.change_cluster(CLUSTER, granted)


@pytest.fixture(scope="module")
def image(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sync's image in the local registry."""
    folder = tmp_path_factory.mktemp("docker")
    password = stack.registry.add_user("image-pusher", push=["regcred/*"])
    login = {"username": "image-pusher", "password": password}
    (folder / "config.json").write_text(json.dumps({"auths": {stack.registry.host: login}}))
    reference = f"{stack.registry.host}/regcred/sync:test"
    assemble_with(folder, reference)
    return reference


def assemble_with(folder: Path, reference: str) -> None:
    try:
        run_path(str(CHART.parents[1] / "image" / "assemble.py"))["assemble"](reference, docker_config=folder)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error}\n{error.stderr}")


@pytest.fixture(scope="module")
def node_stack(stack: Stack) -> Stack:
    import os

    reason = stack.node.impossible()
    if reason and os.environ.get("CI") != "true":
        pytest.skip(f"no node can run here: {reason}")
    stack.up(["vault", "kubernetes", "registry", "node"])
    return stack


@pytest.fixture(scope="module")
def installed(node_stack: Stack, image: str) -> Iterator[Installed]:
    """The chart at its defaults, but for what a node without a network plugin needs."""
    stack, cluster = node_stack, Cluster(node_stack.kubernetes)
    token = SecretStr(stack.vault.root_token)
    store = Store(connect(Server(stack.vault.addr), TokenLogin(lambda: token)))
    stack.kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    password = stack.registry.add_user("sync-image", pull=["regcred/*"])
    stack.kubernetes.kubectl(
        "-n", NAMESPACE, "create", "secret", "docker-registry", "sync-image",
        f"--docker-server={stack.registry.host}", "--docker-username=sync-image", f"--docker-password={password}",
    )  # fmt: skip
    (port,) = free_ports(1)
    api = stack.kubernetes.server.removeprefix("https://").partition(":")
    values = {
        **REQUIRED,
        "cluster": CLUSTER,
        "vault.address": stack.vault.addr,
        "image.repository": image.rpartition(":")[0],
        "image.tag": "test",
        "imagePullSecrets": ["sync-image"],
        "hostNetwork": True,
        "metrics.port": port,
        "sync.pollSeconds": 1,
        "sync.graceSeconds": 1,
        "sync.logLevel": "debug",
        "extraEnv": [
            {"name": "KUBERNETES_SERVICE_HOST", "value": api[0]},
            {"name": "KUBERNETES_SERVICE_PORT", "value": api[2]},
        ],
    }
    config = stack.kubernetes.kubeconfig
    flags = ("--namespace", NAMESPACE)
    done = helm(
        "upgrade", "--install", "regcred", CHART, *flags, *settings(values), kubeconfig=config, check=False
    )
    assert done.returncode == 0, done.stderr
    found = Installed(stack, cluster, store, port)
    try:
        cluster.wait_until_in_force()
        yield found
    finally:
        print(
            stack.kubernetes.kubectl("-n", NAMESPACE, "describe", "pods", check=False).stdout,
            found.log(),
            sep="\n",
        )
        helm("uninstall", "regcred", *flags, "--ignore-not-found", kubeconfig=config)
        cluster.clean()
        stack.kubernetes.kubectl("delete", "namespace", NAMESPACE)


def test_the_sync_becomes_ready_as_a_restricted_pod(installed: Installed):
    pod = installed.pod()
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["spec"]["securityContext"]["runAsUser"] == 65532
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert requests.get(f"http://127.0.0.1:{installed.port}/healthz", timeout=5).ok


def test_an_annotated_deployment_pulls_with_the_projected_secret(installed: Installed):
    stack, cluster = installed.stack, installed.cluster
    installed.pod()
    reference = Reference(f"payments-{uuid.uuid4().hex[:4]}", "local")
    stack.push_image("private/app")
    password = stack.registry.add_user("puller", pull=["private/*"])
    installed.store.change_project(
        reference.project, lambda _: ProjectPolicy(hosts=[stack.registry.host], clusters=[CLUSTER])
    )
    platform_applied(stack)
    installed.publish(reference, user="puller", password=password)
    there = cluster.namespace()
    installed.grant(reference.project, there)

    item = workload("Deployment", there, own={"registry.regcred.dev/app": str(reference)})
    spec = item["spec"]["template"]["spec"]
    spec["hostNetwork"] = True
    spec["containers"][0]["image"] = f"{stack.registry.host}/private/app:1"
    cluster.create(item)

    def running() -> dict[str, Any] | None:
        pods = cluster.items("Pod", there)
        return pods[0] if pods and pods[0]["status"]["phase"] == "Running" else None

    pod = eventually(running, timeout=90)
    assert secret_names(pod) == [reference.secret_name]
    secret = cluster.get("Secret", there, reference.secret_name)
    assert secret["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "regcred"}
    auths = json.loads(b64decode(secret["data"][".dockerconfigjson"]))["auths"]
    assert auths[stack.registry.host]["password"] == password
    assert stack.registry.pulls(user="puller", outcome="accepted")

    second = stack.registry.add_user("puller", pull=["private/*"])
    installed.publish(reference, user="puller", password=second)

    def renewed() -> bool:
        data = cluster.get("Secret", there, reference.secret_name)["data"]
        return second in b64decode(data[".dockerconfigjson"]).decode()

    eventually(renewed)

    cluster.kubernetes.kubectl("-n", there, "delete", "deployment", "app", "--cascade=foreground")
    eventually(lambda: not cluster.items("Secret", there), timeout=60)

    log = installed.log()
    assert password not in log
    assert second not in log


def test_nothing_that_the_sync_asked_for_was_denied(installed: Installed):
    """Runs after the work above; the audit log is the API server's own word."""
    asked = installed.requests_of_sync()
    assert {("create", "secrets"), ("update", "secrets"), ("delete", "secrets")} <= {
        (entry["verb"], entry["objectRef"]["resource"]) for entry in asked if "objectRef" in entry
    }
    denied = [entry for entry in asked if entry.get("responseStatus", {}).get("code") in {401, 403, 422}]
    assert denied == []
    read = [entry for entry in asked if entry.get("objectRef", {}).get("resource") == "secrets"]
    assert {entry["verb"] for entry in read} == {"create", "update", "delete"}


def test_helm_test_passes(installed: Installed):
    answer = helm(
        "test", "regcred", "--namespace", NAMESPACE, "--timeout", "120s",
        kubeconfig=installed.stack.kubernetes.kubeconfig, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "nothing to do" in installed.log("regcred-sync-test")


def platform_applied(stack: Stack) -> None:
    """Derive the groups in Vault from what the platform admins wrote, as `regcred doctor --repair` does."""
    stack.up(["vault", "kubernetes", "registry", "node"])


def test_the_dockerfile_says_the_same_as_the_assembly():
    scope = run_path(str(CHART.parents[1] / "image" / "assemble.py"))
    text = (CHART.parents[1] / "image" / "Dockerfile").read_text()
    assert f"USER {scope['USER']}" in text
    assert f"WORKDIR {scope['WORKDIR']}" in text
    assert f"ENTRYPOINT {json.dumps(list(scope['ENTRYPOINT']))}" in text
    assert "ENV " + " ".join(f"{name}={value}" for name, value in scope["ENVIRONMENT"].items()) in text
    assert f"functions/sync/app.py /{scope['APP']}" in text
    assert f"--target /{scope['PACKAGES']}" in text
