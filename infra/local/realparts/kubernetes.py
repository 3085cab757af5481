"""A Kubernetes control plane: etcd, API server, controller-manager and scheduler.

The node is in `node.py`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import requests

from . import pki
from .build import NEWEST, binary
from .procs import Processes, free_ports, wait_for
from .state import State

PART = "kubernetes"
EMPTY: Mapping[str, str] = {}
ISSUER = "https://kubernetes.default.svc.cluster.local"
_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: ["system:kube-scheduler", "system:kube-controller-manager", "system:apiserver"]
  - level: None
    userGroups: ["system:nodes"]
  - level: Metadata
"""


class Kubernetes:
    """The handle of the control plane.

    Args:
        processes: the processes of the stack.
        state: stores its ports.
        version: one of `build.KUBERNETES`. Only the newest one has a scheduler.
        flags: more flags of the API server.
        storage: the program that stores the objects: `etcd`, or `kine` (with SQLite) as in k3s.
    """

    def __init__(
        self,
        processes: Processes,
        state: State,
        *,
        version: str = NEWEST,
        flags: Mapping[str, str] = EMPTY,
        storage: str = "etcd",
    ) -> None:
        self._processes = processes
        self._state = state
        self._storage = storage
        self._suffix = "" if version == NEWEST else f"-{version}"
        self._more_flags = flags
        self.directory = processes.directory / PART

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that run when it is up."""
        scheduler = () if self._suffix else ("kube-scheduler",)
        return self._storage, "kube-apiserver", "kube-controller-manager", *scheduler

    @property
    def binaries(self) -> tuple[str, ...]:
        """The names of the programs to build."""
        older = tuple(f"{name}{self._suffix}" if name.startswith("kube-") else name for name in self.programs)
        return *older, "kubectl"

    @property
    def server(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self._stored['port']}"

    @property
    def ca(self) -> Path:
        """The file of the certificate authority that signed the API server's certificate."""
        return self.directory / "pki" / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig file."""
        return self.directory / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log: one JSON line for each request that is not of a system component."""
        return self._processes.logs / "kube-apiserver-audit.log"

    @property
    def service_account_public_key(self) -> str:
        """The PEM of the key that verifies ServiceAccount tokens, for a JWT auth mount of Vault."""
        return pki.public_pem(pki.rsa_key(self.directory / "pki" / "service-account.key"))

    @property
    def service_account_issuer(self) -> str:
        """The `iss` of ServiceAccount tokens. It is the same in every cluster, as in production."""
        return ISSUER

    def up(self) -> None:
        """Start the control plane and wait until the `default` ServiceAccount exists."""
        if "port" not in self._stored:
            port, etcd, peer, controller, scheduler = free_ports(5)
            self._state.update(
                PART,
                port=port,
                etcd_port=etcd,
                etcd_peer_port=peer,
                controller_port=controller,
                scheduler_port=scheduler,
            )
        pki.rsa_key(self.directory / "pki" / "service-account.key")
        (self.directory / "audit-policy.yaml").write_text(_AUDIT_POLICY)
        self._start_storage()
        self.start_apiserver()
        self.kubeconfig_for("admin", groups=("system:masters",), path=self.kubeconfig)
        self._start_clients()
        wait_for(
            "the default ServiceAccount",
            lambda: self._exists("/api/v1/namespaces/default/serviceaccounts/default"),
        )

    def down(self) -> None:
        """Stop the control plane and delete its data. The API server stops before etcd, or it would hang."""
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", self._storage):
            self._processes.stop(name, grace=3)
        shutil.rmtree(self.directory, ignore_errors=True)
        self._state.remove(PART)

    def start_apiserver(self) -> None:
        """Start the API server on its port and wait until it is ready."""
        if self._processes.pid("kube-apiserver"):
            return
        certificate, key = self._authority.issue(
            "apiserver",
            user="kube-apiserver",
            hosts=(
                "127.0.0.1",
                "localhost",
                "10.96.0.1",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
            ),
        )
        client, client_key = self._authority.issue(
            "kubelet-client", user="kube-apiserver", groups=("system:masters",)
        )
        signing_key = self.directory / "pki" / "service-account.key"
        flags = {
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": self._stored["port"],
            "tls-cert-file": certificate,
            "tls-private-key-file": key,
            "client-ca-file": self.ca,
            "kubelet-client-certificate": client,
            "kubelet-client-key": client_key,
            "kubelet-preferred-address-types": "InternalIP",
            "etcd-servers": f"http://127.0.0.1:{self._stored['etcd_port']}",
            "authorization-mode": "Node,RBAC",
            "service-account-issuer": ISSUER,
            "service-account-key-file": signing_key,
            "service-account-signing-key-file": signing_key,
            "service-cluster-ip-range": "10.96.0.0/24",
            # There is only one API server, so none needs to register itself in the `kubernetes` Endpoints.
            "endpoint-reconciler-type": "none",
            "allow-privileged": "true",
            "audit-policy-file": self.directory / "audit-policy.yaml",
            "audit-log-path": self.audit_log,
            "audit-log-maxsize": 1000,
            "profiling": "false",
            "shutdown-delay-duration": "0s",
        }
        self._processes.start(
            "kube-apiserver",
            [binary(f"kube-apiserver{self._suffix}"), *_flags({**flags, **self._more_flags})],
            ready=lambda: self.get("/readyz").ok,
            env=_ENV,
            timeout=120,
        )

    def stop_apiserver(self) -> None:
        """Stop the API server, also with open watches. etcd and the other programs keep running."""
        self._processes.stop("kube-apiserver", grace=3)

    def restart_apiserver(self, *, down_for: float = 0) -> None:
        """Restart the API server on the same port, `down_for` seconds after it has stopped."""
        self.stop_apiserver()
        time.sleep(down_for)
        self.start_apiserver()

    def kubeconfig_for(self, user: str, *, groups: tuple[str, ...] = (), path: Path | None = None) -> Path:
        """Create a kubeconfig with a client certificate for any user.

        Args:
            user: the user's name, as in RBAC.
            groups: the user's groups.
            path: the file to write; a name is chosen if None.
        """
        name = f"user-{hashlib.sha256(json.dumps([user, *groups]).encode()).hexdigest()[:12]}"
        certificate, key = self._authority.issue(name, user=user, groups=groups)
        credential = {
            "client-certificate-data": base64.b64encode(certificate.read_bytes()).decode(),
            "client-key-data": base64.b64encode(key.read_bytes()).decode(),
        }
        return self._write_kubeconfig(path or self.directory / f"{name}.kubeconfig", user, credential)

    def service_account_token(
        self, namespace: str, name: str, *, audience: str | None = None, seconds: int = 3600
    ) -> str:
        """Request a token of a ServiceAccount (TokenRequest), as the kubelet does for a Pod.

        Args:
            namespace: the ServiceAccount's namespace.
            name: its name.
            audience: the audience; the API server if None.
            seconds: its lifetime, at least 600.
        """
        spec: dict[str, Any] = {
            "expirationSeconds": seconds,
            **({"audiences": [audience]} if audience else {}),
        }
        answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        return str(answer["status"]["token"])

    def service_account_kubeconfig(self, namespace: str, name: str, *, seconds: int = 3600) -> Path:
        """Create a kubeconfig with a ServiceAccount's token that is valid for `seconds`."""
        token = self.service_account_token(namespace, name, seconds=seconds)
        return self._write_kubeconfig(
            self.directory / f"sa-{namespace}-{name}.kubeconfig", name, {"token": token}
        )

    def get(self, path: str) -> requests.Response:
        """GET a path of the API server as administrator. No status raises an error."""
        return self._session().get(f"{self.server}{path}", timeout=10)

    def request(
        self, method: str, path: str, body: Any | None = None, *, content_type: str = "application/json"
    ) -> Any:
        """Send a request as administrator and return the parsed response.

        Raises:
            requests.HTTPError: the API server refused it. The message contains the response.
        """
        answer = self._session().request(
            method,
            f"{self.server}{path}",
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
            timeout=30,
        )
        if not answer.ok:
            raise requests.HTTPError(
                f"{method} {path}: {answer.status_code} {answer.text[:500]}", response=answer
            )
        return answer.json()

    def kubectl(
        self, *args: str | Path, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as administrator and return its result.

        Raises:
            subprocess.CalledProcessError: it failed and `check` is true.
        """
        return subprocess.run(
            [binary("kubectl"), f"--kubeconfig={self.kubeconfig}", *args],
            input=stdin,
            capture_output=True,
            text=True,
            check=check,
            env={**_ENV, "HOME": str(self.directory)},
        )

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects with kubectl.

        Raises:
            subprocess.CalledProcessError: one was refused. `stderr` contains the reason.
        """
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(listed))

    @property
    def _stored(self) -> dict[str, Any]:
        return self._state.part(PART)

    @property
    def _authority(self) -> pki.Authority:
        return pki.Authority(self.directory / "pki", "regcred local kubernetes")

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.ca)
        certificate, key = self._authority.issue("realparts", user="realparts", groups=("system:masters",))
        session.cert = (str(certificate), str(key))
        return session

    def _exists(self, path: str) -> bool:
        return self.get(path).ok

    def _healthy(self, port: int) -> bool:
        return self._session().get(f"https://127.0.0.1:{port}/healthz", timeout=2).ok

    def _start_storage(self) -> None:
        if self._processes.pid(self._storage):
            return
        client = f"http://127.0.0.1:{self._stored['etcd_port']}"
        peer = f"http://127.0.0.1:{self._stored['etcd_peer_port']}"
        etcd = {
            "name": "local",
            "data-dir": self.directory / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"local={peer}",
            "unsafe-no-fsync": "true",
            "logger": "zap",
            "log-level": "warn",
        }
        addresses = {"listen-address": client, "metrics-bind-address": peer}
        kine = {name: address.removeprefix("http://") for name, address in addresses.items()}
        health, flags = (f"{client}/health", etcd) if self._storage == "etcd" else (f"{peer}/metrics", kine)
        self._processes.start(
            self._storage,
            [binary(self._storage), *_flags(flags)],
            ready=lambda: requests.get(health, timeout=2).ok,
            env=_ENV,
            cwd=self.directory,  # kine stores its database there
        )

    def _start_clients(self) -> None:
        ca_key = self.directory / "pki" / "ca.key"
        controller = self.kubeconfig_for("system:kube-controller-manager")
        scheduler = self.kubeconfig_for("system:kube-scheduler")
        for name, port, flags in (
            (
                "kube-controller-manager",
                self._stored["controller_port"],
                {
                    "kubeconfig": controller,
                    "service-account-private-key-file": self.directory / "pki" / "service-account.key",
                    "root-ca-file": self.ca,
                    "cluster-signing-cert-file": self.ca,
                    "cluster-signing-key-file": ca_key,
                    "use-service-account-credentials": "true",
                },
            ),
            ("kube-scheduler", self._stored["scheduler_port"], {"kubeconfig": scheduler}),
        ):
            if self._processes.pid(name) or name not in self.programs:
                continue
            certificate, key = self._authority.issue("component", user=name, hosts=("127.0.0.1",))
            common = {
                "bind-address": "127.0.0.1",
                "secure-port": port,
                "tls-cert-file": certificate,
                "tls-private-key-file": key,
                "leader-elect": "false",
                "profiling": "false",
            }
            self._processes.start(
                name,
                [binary(f"{name}{self._suffix}"), *_flags({**common, **flags})],
                ready=partial(self._healthy, port),
                env=_ENV,
            )

    def _write_kubeconfig(self, path: Path, user: str, credential: dict[str, str]) -> Path:
        cluster = {
            "server": self.server,
            "certificate-authority-data": base64.b64encode(self.ca.read_bytes()).decode(),
        }
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": user, "user": credential}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
            "current-context": "local",
        }
        return pki.write_private(path, json.dumps(content, indent=1))


_ENV = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent"}


def _flags(flags: dict[str, Any]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
