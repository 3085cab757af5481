"""Sync as a process, with the ServiceAccount and rights of the chart. It signs in to OpenBao by a JWT of that
ServiceAccount."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from fakes.sync_world import Mount
from pydantic import SecretStr
from real.controlplane import Cluster, create_pull_secret, secret_names, workload

from realparts.procs import free_ports
from realparts.stack import Stack
from realparts.waiting import eventually
from regcred.clock import utc_now
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin
from regcred.vault.records.declared import ProjectPolicy

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = ("regcred-system", "regcred-sync")
CLUSTER = "local"
ADMISSION = "admissionregistration.k8s.io/v1"
PATIENCE = (10.0, 90.0)
"""Seconds to connect to Vault and to read from it: other tests can keep its disk busy."""


def mount_of(stack: Stack) -> Mount:
    """The mount, with helpers to write it as admins and rotate do."""
    token = SecretStr(stack.vault.root_token)
    server = Server(stack.vault.addr, timeout=PATIENCE)
    return Mount(connect(server, TokenLogin(lambda: token)), utc_now, CLUSTER)


def allow_project(stack: Stack, mount: Mount, project: str) -> None:
    """Let the cluster read a project, as a platform admin does."""
    mount.store.change_project(project, lambda _: ProjectPolicy(clusters=[CLUSTER]))
    stack.up(["vault", "kubernetes"])


class SyncProcess:
    """``functions/sync/app.py`` with its settings.

    All output is in the logs of the stack, in a file with the name of ``folder``.
    """

    def __init__(self, stack: Stack, cluster: Cluster, folder: Path, **settings: str) -> None:
        self.cluster = cluster
        self.log = stack.logs_dir / f"{folder.name}.log"
        self._token = folder / "vault-token"
        (self.port,) = free_ports(1)
        kubernetes = stack.kubernetes
        self._token.write_text(kubernetes.service_account_token(*ACCOUNT, audience="vault"))
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KUBECONFIG": str(kubernetes.service_account_kubeconfig(*ACCOUNT)),
            "REGCRED_CLUSTER": CLUSTER,
            "REGCRED_VAULT_ADDR": stack.vault.addr,
            "REGCRED_VAULT_TOKEN_FILE": str(self._token),
            "REGCRED_METRICS_PORT": str(self.port),
            "REGCRED_POLL_SECONDS": "1",
            "REGCRED_GRACE_SECONDS": "0",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start sync. Without arguments it runs the loop."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(*arguments), env=self._environment, stdout=log, stderr=log
            )
        return self.process

    def command(self, *arguments: str) -> list[str]:
        """The command line of the process."""
        return [sys.executable, str(ROOT / "functions/sync/app.py"), *arguments]

    def once(self, *arguments: str, seconds: float = 60) -> tuple[int, str]:
        """Run sync once, and return the exit code and the output."""
        done = subprocess.run(
            self.command("--once", *arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        with self.log.open("a") as log:
            log.write(done.stdout + done.stderr)
        return done.returncode, done.stdout + done.stderr

    def kill(self) -> None:
        """End the process as the loss of a node does."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End the process as the kubelet does, and check that it exits with 0."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(20) == 0
        self.process = None

    def ready(self) -> bool:
        """Whether the readiness probe succeeds."""
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def metric(self, line: str) -> float:
        """The value of a series of /metrics, as ``name{label="value"}``; 0 if there is none."""
        text = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=2).text
        found = [entry.rpartition(" ")[2] for entry in text.splitlines() if entry.startswith(f"{line} ")]
        return float(found[0]) if found else 0.0


class Audit:
    """The requests of the ServiceAccount in the API server's audit log since this object was created."""

    def __init__(self, stack: Stack) -> None:
        self._log = stack.kubernetes.audit_log
        self._from = self._log.stat().st_size

    def requests(self, *verbs: str) -> list[tuple[str, str, int]]:
        """Verb, resource and status code of each request that has been answered."""
        user = "system:serviceaccount:" + ":".join(ACCOUNT)
        with self._log.open("rb") as log:
            log.seek(self._from)
            entries = [json.loads(line) for line in log.read().splitlines() if user.encode() in line]
        return [
            (entry["verb"], entry.get("objectRef", {}).get("resource", ""), entry["responseStatus"]["code"])
            for entry in entries
            if entry["user"]["username"] == user and entry["stage"] != "RequestReceived"
            if not verbs or entry["verb"] in verbs
        ]


class World:
    """A project and namespaces for one test, and the sync processes that it starts."""

    def __init__(self, stack: Stack, cluster: Cluster, mount: Mount, folder: Path) -> None:
        self.stack, self.cluster, self.mount, self.folder = stack, cluster, mount, folder
        self.project = f"p-{uuid.uuid4().hex[:8]}"
        self.ref = f"{self.project}/main"
        self.name = f"regcred.{self.project}.main"
        self.spaces: list[str] = []
        self.syncs: list[SyncProcess] = []

    def sync(self, **settings: str) -> SyncProcess:
        sync = SyncProcess(self.stack, self.cluster, self.folder, **settings)
        self.syncs.append(sync)
        return sync

    def running(self, **settings: str) -> SyncProcess:
        sync = self.sync(**settings)
        sync.start()
        eventually(sync.ready)
        return sync

    def create_foreign_secret(self, space: str) -> None:
        """Create a Secret of another owner with the name that sync would use."""
        create_pull_secret(
            self.cluster.kubernetes,
            *(space, self.name),
            server="theirs.example.com",
            username="they",
            password="theirs",
        )

    def namespace(self, *, workload_too: bool = True, granted: bool = True, **more: Any) -> str:
        space = self.cluster.namespace(**more)
        if granted:
            self.spaces.append(space)
            self.grant()
        if workload_too:
            self.annotate(space)
        return space

    def grant(self, grants: dict[str, list[str]] | None = None) -> None:
        self.mount.grant({self.project: self.spaces} if grants is None else grants)

    def annotate(self, space: str, name: str = "app", **more: Any) -> None:
        self.cluster.create(
            workload("Deployment", space, name, own={"registry.regcred.dev/main": self.ref}, **more)
        )

    def mint(self, password: str) -> int:
        return self.mount.mint(self.ref, self.stack.remember_secret(password))

    def password(self, space: str) -> str | None:
        answer = self.stack.kubernetes.get(f"/api/v1/namespaces/{space}/secrets/{self.name}")
        if answer.status_code == requests.codes.not_found:
            return None
        auths = b64decode(answer.json()["data"][".dockerconfigjson"]).decode()
        return auths.split('"password":"')[1].split('"')[0]

    def cannot_pull(self, item: dict[str, Any]) -> None:
        """Write the status that a kubelet writes if it has no credential for a Pod."""
        waiting = {"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
        status = {"containerStatuses": [waiting | {"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
        path = f"/api/v1/namespaces/{item['metadata']['namespace']}/pods/{item['metadata']['name']}/status"
        kind = "application/merge-patch+json"
        self.stack.kubernetes.request("PATCH", path, {"status": status}, content_type=kind)

    def replaced(self, space: str) -> bool:
        """Whether a Pod that is not being deleted names the Secret."""
        pods = [
            item for item in self.cluster.items("Pod", space) if "deletionTimestamp" not in item["metadata"]
        ]
        return any(secret_names(item) == [self.name] for item in pods)

    def events(self, space: str) -> list[tuple[str, str]]:
        found = self.stack.kubernetes.request("GET", f"/apis/events.k8s.io/v1/namespaces/{space}/events")[
            "items"
        ]
        return [
            (event["reason"], event["note"])
            for event in found
            if event.get("reportingController") == "regcred.dev/sync"
        ]

    def placed(self) -> dict[int, set[str]]:
        return self.mount.placed(self.ref)


@contextmanager
def world_of(kubernetes_stack: Stack, cluster: Cluster, tmp_path: Path) -> Iterator[World]:
    """A world with a project that has a credential, until its test ends."""
    mount = mount_of(kubernetes_stack)
    world = World(kubernetes_stack, cluster, mount, tmp_path)
    allow_project(kubernetes_stack, mount, world.project)
    world.mint("s3cret-one")
    try:
        yield world
    finally:
        for sync in world.syncs:
            if sync.process:
                sync.kill()
        cluster.clean()
        # Leftovers would count for the brake in the next test.
        mount.grant({})
        mount.kv.delete(f"status/{CLUSTER}/{world.project}")


def quota(world: World, space: str, secrets: int) -> None:
    """Limit the number of Secrets, and wait until the limit is in force."""
    path = f"/api/v1/namespaces/{space}/resourcequotas"
    body = {"metadata": {"name": "few"}, "spec": {"hard": {"count/secrets": str(secrets)}}}
    world.stack.kubernetes.request("POST", path, {"apiVersion": "v1", "kind": "ResourceQuota", **body})
    eventually(lambda: world.stack.kubernetes.request("GET", f"{path}/few").get("status", {}).get("used"))


def policy(world: World, name: str, space: str, expression: str, **more: Any) -> list[dict[str, Any]]:
    """Create a policy about the Secrets of one namespace, and wait until it is in force."""
    rules = [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["secrets"],
            "operations": ["CREATE", "UPDATE"],
        }
    ]
    selector = {"matchLabels": {"kubernetes.io/metadata.name": space}}
    objects: list[dict[str, Any]] = [
        {
            "apiVersion": ADMISSION,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": rules, "namespaceSelector": selector},
                "validations": [
                    {"expression": expression, "message": "every Secret needs the label team", **more}
                ],
            },
        },
        {
            "apiVersion": ADMISSION,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]
    world.stack.kubernetes.apply(*objects)
    probe = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe", "namespace": space}}
    path = f"/api/v1/namespaces/{space}/secrets?dryRun=All"
    session = world.stack.kubernetes
    eventually(lambda: _denied(session, path, probe))
    return objects


def _denied(kubernetes: Any, path: str, body: Any) -> bool:
    try:
        kubernetes.request("POST", path, body)
    except requests.HTTPError as error:
        return "label team" in str(error)
    return False
