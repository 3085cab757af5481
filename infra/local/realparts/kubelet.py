"""The kubelet of the node, and its handle."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .build import binary
from .containerd import SYSTEM_PATH
from .kubernetes import Kubernetes
from .procs import Processes, wait_for


class Kubelet:
    """The handle.

    Args:
        processes: the processes of the stack.
        kubernetes: the control plane.
        name: the name of the node and of its cgroup.
        directory: the node's folder.
    """

    def __init__(self, processes: Processes, kubernetes: Kubernetes, *, name: str, directory: Path) -> None:
        self._processes = processes
        self._kubernetes = kubernetes
        self._name = name
        self._directory = directory
        self._path = f"/api/v1/nodes/{name}"

    def start(self, *, runtime: Path, port: int, health_port: int) -> None:
        """Start it unless it runs already, and wait until the node is Ready.

        Args:
            runtime: the container runtime's socket.
            port: its port for the API server.
            health_port: its port for probes.
        """
        if not self._processes.pid("kubelet"):
            for name in ("kubelet", "pod-logs"):
                (self._directory / name).mkdir(parents=True, exist_ok=True)
            config = self._directory / "kubelet.json"
            config.write_text(json.dumps(self._config(runtime, port, health_port), indent=1))
            self._launch(config)
            self._set_address()
        wait_for(f"node {self._name} becoming Ready", self._ready, timeout=90)

    def delete_pods(self) -> None:
        """Delete all Pods while the kubelet still runs, and wait up to 10 seconds for their end."""
        if not (self._processes.pid("kubelet") and self._processes.pid("kube-apiserver")):
            return
        try:
            for namespace in self._kubernetes.get("/api/v1/namespaces").json()["items"]:
                name = namespace["metadata"]["name"]
                body = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
                self._kubernetes.request("DELETE", f"/api/v1/namespaces/{name}/pods", body)
            deadline = time.monotonic() + 10
            while self._kubernetes.get("/api/v1/pods").json()["items"] and time.monotonic() < deadline:
                time.sleep(0.3)
        except (OSError, ValueError, KeyError) as error:
            print(f"the Pods could not be deleted ({error}); their processes will be killed")

    def stop(self) -> None:
        """Stop it. The Pods keep running."""
        self._processes.stop("kubelet", grace=3)

    def _launch(self, config: Path) -> None:
        kubeconfig = self._kubernetes.kubeconfig_for(f"system:node:{self._name}", groups=("system:nodes",))
        self._processes.start(
            "kubelet",
            [
                binary("kubelet"),
                f"--config={config}",
                f"--kubeconfig={kubeconfig}",
                f"--root-dir={self._directory}/kubelet",
                f"--cert-dir={self._directory}/kubelet-pki",
                f"--hostname-override={self._name}",
                # The kubelet does not accept a loopback address. _set_address sets it, as a cloud provider
                # would.
                "--cloud-provider=external",
            ],
            ready=lambda: self._kubernetes.get(self._path).ok,
            env={"PATH": SYSTEM_PATH, "HOME": str(self._directory)},
            timeout=90,
        )

    def _set_address(self) -> None:
        """Set the kubelet's address in the Node, which `kubectl logs` and `kubectl exec` use."""
        merge = "application/merge-patch+json"
        addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
        self._kubernetes.request(
            "PATCH", f"{self._path}/status", {"status": {"addresses": addresses}}, content_type=merge
        )
        self._kubernetes.request("PATCH", self._path, {"spec": {"taints": None}}, content_type=merge)

    def _ready(self) -> bool:
        node = self._kubernetes.get(self._path).json()
        ready = any(
            item["type"] == "Ready" and item["status"] == "True" for item in node["status"]["conditions"]
        )
        return ready and not node["spec"].get("taints")

    def _config(self, runtime: Path, port: int, health_port: int) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": port,
            "readOnlyPort": 0,
            "healthzBindAddress": "127.0.0.1",
            "healthzPort": health_port,
            "authentication": {
                "anonymous": {"enabled": False},
                "x509": {"clientCAFile": str(self._kubernetes.ca)},
                "webhook": {"enabled": True},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": f"unix://{runtime}",
            "podLogsDir": str(self._directory / "pod-logs"),
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._name}",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "resolvConf": "",
            # Do not evict the demo from a laptop with a nearly full disk.
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            "imageMaximumGCAge": "0s",
            "syncFrequency": "5s",
            "nodeStatusUpdateFrequency": "5s",
            "serializeImagePulls": False,
            "shutdownGracePeriod": "0s",
        }
