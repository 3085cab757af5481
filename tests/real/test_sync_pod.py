"""Sync as a Pod on the real node, with its own image, from the chart, signed in to OpenBao by its token."""

import json
import re
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
from nodes import need_node
from pydantic import SecretStr
from real.controlplane import OPENSHIFT, Cluster, create_pull_secret, secret_names, workload

from realparts.procs import free_ports
from realparts.stack import Stack
from realparts.waiting import eventually
from regcred.credential import Credential, Login, Verified
from regcred.registry_reference import Reference
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.declared import ClusterGrants, ProjectPolicy
from regcred.vault.records.index import IndexEntry, State
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
    values: dict[str, Any]

    def upgrade(self, **values: Any) -> None:
        """Install the chart, or upgrade it to other values (`__` is a dot)."""
        given = self.values | {name.replace("__", "."): value for name, value in values.items()}
        config = self.stack.kubernetes.kubeconfig
        flags = ("--namespace", NAMESPACE, *settings(given))
        done = helm("upgrade", "--install", "regcred", CHART, *flags, kubeconfig=config, check=False)
        assert done.returncode == 0, done.stderr

    def denied(self) -> list[dict[str, Any]]:
        """The requests of sync's current Pod that the API server has denied."""
        codes = {401, 403, 422}
        return [
            entry for entry in self.requests_of_sync() if entry.get("responseStatus", {}).get("code") in codes
        ]

    def registry(self) -> tuple[Reference, str]:
        """Create a project with one registry. Return its reference and the password for `private/app`."""
        reference = Reference(f"payments-{uuid.uuid4().hex[:6]}", "local")
        self.stack.push_image("private/app")
        return reference, self.publish_in_project(reference, "puller", "private/*")

    def publish_in_project(self, reference: Reference, user: str, images: str) -> str:
        """Create a project with one registry, whose login may pull these images. Return the password."""
        password = self.stack.registry.add_user(user, pull=[images])
        hosts = [self.stack.registry.host]
        self.store.change_project(reference.project, lambda _: ProjectPolicy(hosts=hosts, clusters=[CLUSTER]))
        self.stack.up(["vault", "kubernetes", "registry", "node"])  # derives the groups in Vault from it
        self.publish(reference, password, user=user)
        return password

    def deploy(self, reference: Reference, *, granted: bool = True) -> str:
        """Create a Deployment with the reference, in a new namespace with a grant. Return the namespace."""
        there = self.cluster.namespace()
        if granted:
            self.grant(reference.project, there)
        item = workload("Deployment", there, own={"registry.regcred.dev/app": str(reference)})
        spec = item["spec"]["template"]["spec"]
        spec["hostNetwork"] = True
        spec["containers"][0]["image"] = f"{self.stack.registry.host}/private/app:1"
        self.cluster.create(item)
        return there

    def running(self, namespace: str) -> dict[str, Any]:
        """Wait for a running Pod in the namespace, and return it."""

        def running() -> dict[str, Any] | None:
            pods = self.cluster.items("Pod", namespace)
            return next((pod for pod in pods if pod["status"]["phase"] == "Running"), None)

        found: dict[str, Any] = eventually(running, seconds=90)
        return found

    def pod(self) -> dict[str, Any]:
        """Wait until sync has only one Pod and it is ready, and return it.

        During a rollout there are two.
        """

        def ready() -> dict[str, Any] | None:
            pods = [
                item
                for item in self.cluster.items("Pod", NAMESPACE)
                if "-test" not in item["metadata"]["name"]
                and "console" not in item["metadata"]["name"]
                and item["status"].get("phase") not in {"Succeeded", "Failed"}
            ]
            if len(pods) != 1:
                return None
            conditions = pods[0]["status"].get("conditions", [])
            is_ready = any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
            return pods[0] if is_ready else None

        found: dict[str, Any] = eventually(ready, seconds=120)
        return found

    def log(self, pod: str = "regcred-sync") -> str:
        """The log of sync's Pods, from the files of the node."""
        folders = (self.stack.node.directory / "pod-logs").glob(f"{NAMESPACE}_{pod}*")
        return "".join(path.read_text() for folder in folders for path in sorted(folder.rglob("*.log")))

    def requests_of_sync(self) -> list[dict[str, Any]]:
        """The requests of sync's Pod in the audit log of the API server."""
        name = self.pod()["metadata"]["name"]
        lines = self.stack.kubernetes.audit_log.read_text().splitlines()
        entries = [json.loads(line) for line in lines if name in line and ACCOUNT in line]
        return [
            entry
            for entry in entries
            if entry["user"].get("extra", {}).get("authentication.kubernetes.io/pod-name") == [name]
        ]

    def publish(self, reference: Reference, password: str, *, user: str = "puller") -> None:
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
    """The reference of sync's image in the local registry."""
    folder = docker_login(stack, tmp_path_factory)
    reference = f"{stack.registry.host}/regcred/sync:test"
    assemble_with(folder, reference)
    return reference


def docker_login(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a login that may push Regcred's images."""
    folder = tmp_path_factory.mktemp("docker")
    password = stack.registry.add_user("image-pusher", push=["regcred/*"])
    login = {"username": "image-pusher", "password": password}
    (folder / "config.json").write_text(json.dumps({"auths": {stack.registry.host: login}}))
    return folder


def assemble_with(folder: Path, reference: str, *, function: str = "sync") -> None:
    assemble = run_path(str(CHART.parents[1] / "image" / "assemble.py"))["assemble"]
    try:
        assemble(reference, docker_config=folder, function=function)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error}\n{error.stderr}")


@pytest.fixture(scope="module")
def node_stack(stack: Stack) -> Stack:
    need_node(stack)
    stack.up(["vault", "kubernetes", "registry", "node"])
    return stack


@pytest.fixture(scope="module")
def installed(node_stack: Stack, image: str) -> Iterator[Installed]:
    """The chart with default values, except those that a node without a network plugin needs."""
    stack, cluster = node_stack, Cluster(node_stack.kubernetes)
    token = SecretStr(stack.vault.root_token)
    store = Store(connect(Server(stack.vault.addr), TokenLogin(lambda: token)))
    stack.kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    password = stack.registry.add_user("sync-image", pull=["regcred/*"])
    create_pull_secret(
        stack.kubernetes,
        *(NAMESPACE, "sync-image"),
        server=stack.registry.host,
        username="sync-image",
        password=password,
    )
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
    found = Installed(stack, cluster, store, port, values)
    found.upgrade()
    try:
        cluster.wait_until_in_force()
        yield found
    finally:
        print(
            stack.kubernetes.kubectl("-n", NAMESPACE, "describe", "pods", check=False).stdout,
            found.log(),
            sep="\n",
        )
        # The kubelet deletes the log with the Pod, but test_logs.py must search it.
        (stack.logs_dir / "sync-pod.log").write_text(found.log())
        config = stack.kubernetes.kubeconfig
        helm("uninstall", "regcred", "--namespace", NAMESPACE, "--ignore-not-found", kubeconfig=config)
        cluster.clean()
        stack.kubernetes.kubectl("delete", "namespace", NAMESPACE)


def test_sync_becomes_ready_as_a_restricted_pod(installed: Installed):
    pod = installed.pod()
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["spec"]["securityContext"]["runAsUser"] == 65532
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert requests.get(f"http://127.0.0.1:{installed.port}/healthz", timeout=5).ok


def test_an_annotated_deployment_pulls_with_the_projected_secret_and_no_request_is_denied(
    installed: Installed,
):
    stack, cluster = installed.stack, installed.cluster
    installed.pod()
    reference, password = installed.registry()
    there = installed.deploy(reference)
    pod = installed.running(there)
    assert secret_names(pod) == [reference.secret_name]
    secret = cluster.get("Secret", there, reference.secret_name)
    assert secret["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "regcred"}
    auths = json.loads(b64decode(secret["data"][".dockerconfigjson"]))["auths"]
    assert auths[stack.registry.host]["password"] == password
    assert stack.registry.pulls(user="puller", outcome="accepted")

    renewed = stack.registry.add_user("puller", pull=["private/*"])
    installed.publish(reference, renewed)
    eventually(lambda: renewed in decoded(cluster.get("Secret", there, reference.secret_name)))
    assert cluster.get("Secret", there, reference.secret_name)["metadata"]["uid"] == secret["metadata"]["uid"]

    cluster.kubernetes.kubectl("-n", there, "delete", "deployment", "app", "--cascade=foreground")
    eventually(lambda: not cluster.items("Secret", there))

    log = installed.log()
    assert log
    assert password not in log
    assert renewed not in log

    def verbs() -> set[str]:
        requested = [entry for entry in installed.requests_of_sync() if "objectRef" in entry]
        return {entry["verb"] for entry in requested if entry["objectRef"]["resource"] == "secrets"}

    eventually(lambda: verbs() == {"create", "update", "delete"}, what="all requests in the audit log")
    assert installed.denied() == []


def decoded(secret: dict[str, Any]) -> str:
    return b64decode(secret["data"][".dockerconfigjson"]).decode()


def test_helm_test_passes(installed: Installed):
    reference, _ = installed.registry()
    installed.grant(reference.project, "elsewhere")  # without any grant the run would fail
    installed.deploy(reference, granted=False)
    answer = helm(
        "test",
        "regcred",
        "--namespace",
        NAMESPACE,
        "--timeout",
        "120s",
        kubeconfig=installed.stack.kubernetes.kubeconfig,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    log = installed.log("regcred-sync-test")
    assert "event   Deployment" in log, "the dry run prints its plan"
    assert "NotGranted" in log


def test_sync_can_renew_the_pull_secret_of_its_own_image(installed: Installed):
    """Sync starts with a static pull secret. Then it places one in its own namespace, for its next Pod."""
    stack, cluster = installed.stack, installed.cluster
    reference = Reference(f"platform-{uuid.uuid4().hex[:6]}", "images")
    installed.publish_in_project(reference, "own-image", "regcred/*")
    installed.grant(reference.project, NAMESPACE)
    annotate = ("annotate", "--overwrite", "namespace", NAMESPACE)
    cluster.kubernetes.kubectl(*annotate, f"registry.regcred.dev/own={reference}")
    names = [{"name": reference.secret_name}]
    try:
        eventually(lambda: reference.secret_name in str(cluster.items("Secret", NAMESPACE)))
        installed.upgrade(imagePullSecrets=[reference.secret_name], image__pullPolicy="Always")
        eventually(lambda: installed.pod()["spec"]["imagePullSecrets"] == names)
        assert stack.registry.pulls(user="own-image", outcome="accepted")
    finally:
        installed.upgrade()
        cluster.kubernetes.kubectl(*annotate, "registry.regcred.dev/own-")


URL = "https://regcred.example.com"


def test_the_console_runs_as_a_pod_and_people_sign_in_there(
    installed: Installed, tmp_path_factory: pytest.TempPathFactory
):
    stack = installed.stack
    folder = docker_login(stack, tmp_path_factory)
    assemble_with(folder, f"{stack.registry.host}/regcred/console:test", function="console")
    (port,) = free_ports(1)
    installed.upgrade(
        console__enabled=True,
        console__url=URL,
        console__port=port,
        console__image__repository=f"{stack.registry.host}/regcred/console",
        console__image__tag="test",
        console__signIn=["token"],
        podSecurityContext=OPENSHIFT,
    )
    stack.kubernetes.kubectl(
        "-n", NAMESPACE, "rollout", "status", "deployment/regcred-console", "--timeout=180s"
    )
    reference, _ = installed.registry()
    visit = Visitor(f"http://127.0.0.1:{port}")
    page = visit("GET", "/sign-in")
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf, page.text
    fields = {"csrf": csrf[1], "method": "0", "next": "/", "token": stack.vault.root_token}
    assert visit("POST", "/sign-in", **fields).status_code == 303
    shown = visit("GET", f"/registries/{reference}")
    assert shown.status_code == 200
    assert str(reference) in shown.text
    assert installed.store._kv.version("console/sealing") == 1, (
        "the console stores the keys of its cookies with its own role"
    )
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 421


class Visitor:
    """A browser behind an ingress that terminates TLS and keeps the host name."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._cookies: dict[str, str] = {}

    def __call__(self, verb: str, path: str, **fields: str) -> requests.Response:
        headers = {
            "Host": URL.removeprefix("https://"),
            "Origin": URL,
            "Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items()),
        }
        answer = requests.request(
            verb,
            self._address + path,
            data=fields or None,
            headers=headers,
            allow_redirects=False,
            timeout=30,
        )
        self._cookies.update({cookie.name: cookie.value or "" for cookie in answer.cookies})
        return answer


def test_in_serviceaccount_mode_pods_get_the_secret_from_their_account(installed: Installed):
    cluster = installed.cluster
    reference, _ = installed.registry()
    installed.upgrade(mode="serviceaccount", podSecurityContext=OPENSHIFT)
    eventually(lambda: "'serviceaccount'" in str(installed.pod()["spec"]["containers"][0]["env"]))
    assert installed.pod()["spec"]["securityContext"] == OPENSHIFT
    there = installed.deploy(reference)

    def attached() -> bool:
        account = cluster.get("ServiceAccount", there, "default")
        return account.get("imagePullSecrets") == [{"name": reference.secret_name}]

    eventually(attached)
    cluster.kubernetes.kubectl("-n", there, "rollout", "restart", "deployment", "app")
    assert secret_names(installed.running(there)) == [reference.secret_name]
    assert installed.denied() == []


def test_a_pod_that_is_stuck_in_image_pull_back_off_is_evicted_and_the_next_one_runs(installed: Installed):
    cluster = installed.cluster
    reference, _ = installed.registry()
    installed.upgrade(mode="serviceaccount", evictStuckPods=True)
    eventually(lambda: "EVICT_STUCK_PODS" in str(installed.pod()["spec"]["containers"][0]["env"]))
    there = installed.deploy(reference, granted=False)

    def stuck() -> str | None:
        for pod in cluster.items("Pod", there):
            for status in pod["status"].get("containerStatuses", []):
                if status["state"].get("waiting", {}).get("reason") in {"ErrImagePull", "ImagePullBackOff"}:
                    return str(pod["metadata"]["uid"])
        return None

    old = eventually(stuck)
    installed.grant(reference.project, there)
    pod = installed.running(there)
    assert pod["metadata"]["uid"] != old
    assert secret_names(pod) == [reference.secret_name]
    assert installed.denied() == []


def test_sync_as_a_cronjob_runs_once_and_ends(installed: Installed):
    cluster = installed.cluster
    reference, _ = installed.registry()
    installed.upgrade(kind="CronJob", schedule="0 0 1 1 *")
    cluster.wait_until_in_force()
    there = installed.deploy(reference)
    cluster.kubernetes.kubectl(
        "-n", NAMESPACE, "create", "job", "--from=cronjob/regcred-sync", "regcred-sync-now"
    )
    eventually(
        lambda: cluster.get("Job", NAMESPACE, "regcred-sync-now").get("status", {}).get("succeeded") == 1,
    )
    assert secret_names(installed.running(there)) == [reference.secret_name]


def test_the_dockerfile_matches_the_assembly():
    scope = run_path(str(CHART.parents[1] / "image" / "assemble.py"))
    text = (CHART.parents[1] / "image" / "Dockerfile").read_text()
    assert f"USER {scope['USER']}" in text
    assert f"WORKDIR {scope['WORKDIR']}" in text
    assert f"ENTRYPOINT {json.dumps(list(scope['ENTRYPOINT']))}" in text
    assert "ENV " + " ".join(f"{name}={value}" for name, value in scope["ENVIRONMENT"].items()) in text
    assert f"functions/sync/app.py /{scope['APP']}" in text
    assert f"--target /{scope['PACKAGES']}" in text
