"""The chart of the system registry on the real node: the registry, the token server and garbage collection as
Pods."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import requests
import trustme
from helm import CHART, helm
from nodes import need_node
from pydantic import SecretStr
from real.controlplane import OPENSHIFT, create_pull_secret
from real.systemregistry import named_key

from realparts.build import binary
from realparts.procs import free_ports
from realparts.stack import Stack
from realparts.system_registry import HOST
from realparts.waiting import eventually
from regcred.vault.http import Server
from regcred.vault.kv2 import VaultKeyValue, signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform import ensure_project, load
from regcred.vault.platform.system import SystemPlatform
from regcred.vault.system import SystemRecords
from regcred.wiring.cli.system import OwnSystem

pytestmark = [pytest.mark.real, pytest.mark.node, pytest.mark.timeout(900)]

NAMESPACE = "regcred-system"
REGISTRY = CHART.parent / "regcred-registry"
PROJECT = "charted"
USER = 65532
"""The user ID of the chart's Pods."""


@dataclass
class Installed:
    """The chart on the node, and the actions of its users."""

    stack: Stack
    folder: Path
    values: dict[str, Any]
    port: int

    def upgrade(self, **values: Any) -> None:
        file = self.folder / "values.yaml"
        file.write_text(json.dumps(self.values | values))
        command = ("upgrade", "--install", "system", REGISTRY, "--namespace", NAMESPACE, "-f", file)
        done = helm(*command, kubeconfig=self.stack.kubernetes.kubeconfig, check=False)
        assert done.returncode == 0, done.stderr

    def kubectl(self, *args: str) -> str:
        return self.stack.kubernetes.kubectl("-n", NAMESPACE, *args).stdout

    def roll_out(self) -> None:
        for name in ("regcred-registry", "regcred-token"):
            self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=180s")

    def crane(self, login: tuple[str, str], *args: str | Path) -> subprocess.CompletedProcess[str]:
        auth = base64.b64encode(":".join(login).encode()).decode()
        (self.folder / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DOCKER_CONFIG": str(self.folder),
            "SSL_CERT_FILE": str(self.authority),
        }
        return subprocess.run(
            [binary("crane"), *args],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def tokens(self) -> str:
        return str(self.values["tokenServer"]["url"])

    def login(self, *groups: str) -> tuple[str, str]:
        """Create a person, and get a login from the token server's Pod."""
        token = self.stack.system.person("cora", *groups)
        identity = own(self.stack, token).platform.identity_token().get_secret_value()
        answer = requests.post(
            f"{self.tokens}/v1/logins",
            headers={"Authorization": f"Bearer {identity}"},
            verify=str(self.authority),
            timeout=30,
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["username"], answer.json()["password"]

    def access_token(self, login: tuple[str, str]) -> str:
        query = {"service": HOST, "scope": f"repository:{PROJECT}/web:pull"}
        answer = requests.get(
            f"{self.tokens}/token", params=query, auth=login, verify=str(self.authority), timeout=30
        )
        return str(answer.json()["token"])


def own(stack: Stack, token: str) -> OwnSystem:
    """The system registry, with the rights of a Vault token."""
    client = signed_in(Server(stack.vault.addr), TokenLogin(lambda: SecretStr(token)))
    return OwnSystem(SystemRecords(VaultKeyValue(client)), SystemPlatform(client))


def keys(stack: Stack) -> str:
    return json.dumps(own(stack, stack.vault.root_token).keys().jwks())


def images(stack: Stack, folder: Path) -> None:
    """Push both images to the local registry. The entrypoint is `registry`, as in Distribution's image."""
    password = stack.registry.add_user("image-pusher", push=["regcred/*"])
    login = {"username": "image-pusher", "password": password}
    (folder / "config.json").write_text(json.dumps({"auths": {stack.registry.host: login}}))
    assemble = run_path(str(CHART.parents[1] / "image" / "assemble.py"))["assemble"]
    assemble(f"{stack.registry.host}/regcred/token:test", docker_config=folder, function="token")
    with tarfile.open(folder / "registry.tar", "w") as tar:
        tar.add(binary("registry"), "registry")
    reference = f"{stack.registry.host}/regcred/registry:test"
    processor = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "DOCKER_CONFIG": str(folder)}
    for words in (
        ("append", "--oci-empty-base", "-f", folder / "registry.tar", "-t", reference),
        ("mutate", reference, "-t", reference, "--entrypoint=/registry", f"--set-platform=linux/{processor}"),
    ):
        subprocess.run([binary("crane"), *words], env=environment, check=True, capture_output=True)


def volume(stack: Stack, folder: Path) -> None:
    """Create a volume on the node for the claim of the chart, because no provisioner runs here."""
    folder.mkdir()
    os.chown(folder, USER, USER)
    stack.kubernetes.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "system-registry"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": str(folder), "type": "Directory"},
                "claimRef": {"namespace": NAMESPACE, "name": "regcred-registry"},
            },
        }
    )


def certificates(stack: Stack, folder: Path) -> None:
    """Create Secrets with certificates, as cert-manager does."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("registry-tls", "token-tls"):
        issued = authority.issue_cert("localhost", "127.0.0.1")
        chain = b"".join(one.bytes() for one in issued.cert_chain_pems)
        stack.kubernetes.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "type": "kubernetes.io/tls",
                "data": {
                    "tls.crt": base64.b64encode(chain).decode(),
                    "tls.key": base64.b64encode(issued.private_key_pem.bytes()).decode(),
                },
            }
        )


@pytest.fixture(scope="module")
def installed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    need_node(stack)
    stack.up(["vault", "kubernetes", "aws", "registry", "node", "system"])
    folder = tmp_path_factory.mktemp("chart")
    eventually(
        lambda: "Terminating" not in stack.kubernetes.kubectl("get", "ns").stdout,
        what="an earlier release gone",
        seconds=120,
    )
    stack.kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    images(stack, folder)
    password = stack.registry.add_user("chart-image", pull=["regcred/*"])
    create_pull_secret(
        stack.kubernetes,
        *(NAMESPACE, "images"),
        server=stack.registry.host,
        username="chart-image",
        password=password,
    )
    volume(stack, folder / "data")
    certificates(stack, folder)
    port, token_port = free_ports(2)
    values = {
        "host": f"localhost:{port}",
        "service": HOST,
        "tokenKeys": keys(stack),
        "hostNetwork": True,
        "imagePullSecrets": ["images"],
        "registry": {
            "image": {"repository": f"{stack.registry.host}/regcred/registry", "tag": "test"},
            "port": port,
            "tlsSecret": "registry-tls",
        },
        "storage": {"volume": {"size": "1Gi"}},
        "tokenServer": {
            "url": f"https://localhost:{token_port}",
            "image": {"repository": f"{stack.registry.host}/regcred/token", "tag": "test"},
            "port": token_port,
            "replicas": 1,
            "tlsSecret": "token-tls",
        },
        "vault": {"address": stack.vault.addr, "authMount": "regcred-cluster-local"},
    }
    found = Installed(stack, folder, values, port)
    try:
        found.upgrade()
        yield found
    finally:
        print(found.kubectl("describe", "pods"), found.kubectl("get", "events"), sep="\n")
        helm(
            "uninstall",
            "system",
            "--namespace",
            NAMESPACE,
            "--ignore-not-found",
            kubeconfig=stack.kubernetes.kubeconfig,
        )
        stack.kubernetes.kubectl("delete", "namespace", NAMESPACE)
        stack.kubernetes.kubectl("delete", "persistentvolume", "system-registry", "--ignore-not-found")


def test_the_registry_and_the_token_server_serve_tls_as_restricted_pods(installed: Installed) -> None:
    installed.roll_out()
    pods = json.loads(installed.kubectl("get", "pods", "-o", "json"))["items"]
    assert {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods} == {"registry", "token"}
    for pod in pods:
        assert pod["spec"]["securityContext"]["runAsUser"] == USER
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    answer = requests.get(f"https://{installed.host}/v2/", verify=str(installed.authority), timeout=10)
    assert answer.status_code == 401
    assert f'realm="{installed.tokens}/token"' in answer.headers["WWW-Authenticate"]
    policies = json.loads(installed.kubectl("get", "networkpolicies", "-o", "json"))["items"]
    assert {item["metadata"]["name"] for item in policies} == {"regcred-registry", "regcred-token"}


@pytest.fixture(scope="module")
def admin(installed: Installed) -> tuple[str, str]:
    """An admin of a project. The token server's Pod has signed in to Vault by its ServiceAccount's token."""
    installed.roll_out()
    root = signed_in(
        Server(installed.stack.vault.addr), TokenLogin(lambda: SecretStr(installed.stack.vault.root_token))
    )
    ensure_project(root, load(installed.stack.platform), PROJECT)
    return installed.login(f"regcred-admins-{PROJECT}")


@pytest.fixture(scope="module")
def image(installed: Installed, admin: tuple[str, str]) -> str:
    (installed.folder / "file").write_bytes(os.urandom(100_000))
    with tarfile.open(installed.folder / "layer.tar", "w") as tar:
        tar.add(installed.folder / "file", "file")
    reference = f"{installed.host}/{PROJECT}/web:1"
    pushed = installed.crane(
        admin, "append", "--oci-empty-base", "-f", installed.folder / "layer.tar", "-t", reference
    )
    assert pushed.returncode == 0, pushed.stderr
    return reference


def test_a_login_from_the_token_servers_pod_pushes_and_pulls(
    installed: Installed, admin: tuple[str, str], image: str
) -> None:
    assert installed.crane(admin, "manifest", image).returncode == 0
    refused = installed.crane(admin, "copy", image, f"{installed.host}/other/web:1")
    assert refused.returncode != 0


def test_garbage_collection_deletes_the_data_of_deleted_images(
    installed: Installed, admin: tuple[str, str], image: str
) -> None:
    def size() -> int:
        return sum(path.stat().st_size for path in (installed.folder / "data").rglob("*") if path.is_file())

    digest = installed.crane(admin, "digest", image).stdout.strip()
    before = size()
    deleted = installed.crane(admin, "delete", f"{image.rpartition(':')[0]}@{digest}")
    assert deleted.returncode == 0, deleted.stderr
    installed.kubectl("create", "job", "collect", "--from=cronjob/regcred-registry-garbage-collection")
    installed.kubectl("wait", "job/collect", "--for=condition=Complete", "--timeout=120s")
    assert size() < before - 90_000


def test_an_upgrade_brings_new_keys_and_another_user(installed: Installed, admin: tuple[str, str]) -> None:
    before = named_key(installed.access_token(admin))
    system = own(installed.stack, installed.stack.vault.root_token)
    system.rotate(lead=timedelta(seconds=0))
    installed.upgrade(tokenKeys=keys(installed.stack), podSecurityContext=OPENSHIFT)
    installed.roll_out()
    token = eventually(
        lambda: (new := installed.access_token(admin)) and named_key(new) != before and new,
        what="the new key signing",
    )
    answer = requests.get(
        f"https://{installed.host}/v2/{PROJECT}/web/tags/list",
        headers={"Authorization": f"Bearer {token}"},
        verify=str(installed.authority),
        timeout=10,
    )
    assert answer.status_code in {200, 404}
