"""One real Kubernetes node: containerd and the kubelet, next to the control plane, without Docker.

It needs root, writable cgroups and mounts. The Pods' cgroups lie under one of our own, sockets under one run folder, and all
mounts under the two folders of the stack, so that everything can be found and taken away, even after a crash.
Pods use `hostNetwork: true`; there is no network plugin.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import pki
from .build import binary
from .images import push_pause
from .internet import Internet
from .kubernetes import Kubernetes
from .procs import Processes, free_ports, wait_for
from .registry import Registry
from .state import State

PART = "node"
_CGROUPS = Path("/sys/fs/cgroup")
_CNI = {
    # The runtime counts a node as having a network once a configuration is there; Pods with hostNetwork never use it.
    "cniVersion": "0.4.0",
    "name": "none",
    "plugins": [{"type": "loopback"}],
}


class Node:
    """The handle of the node."""

    def __init__(
        self,
        processes: Processes,
        state: State,
        kubernetes: Kubernetes,
        registry: Registry,
        internet: Internet,
    ) -> None:
        self._processes = processes
        self._state = state
        self._kubernetes = kubernetes
        self._registry = registry
        self._internet = internet
        self.directory = processes.directory / PART
        self._id = hashlib.sha256(str(processes.directory).encode()).hexdigest()[:8]
        # Sockets have paths of at most 107 characters.
        self.run_directory = Path(f"/run/regcred-{self._id}")
        self._cgroup = f"regcred-{self._id}"

    @property
    def name(self) -> str:
        """The node's name."""
        return f"regcred-{self._id}"

    @property
    def hosts_directory(self) -> Path:
        """containerd's `config_path`: one folder per registry host."""
        return self.directory / "hosts"

    def impossible(self) -> str | None:
        """Return in plain words why this machine cannot run a node, or None when it can."""
        if sys.platform != "linux":
            return "a node needs Linux"
        if os.geteuid() != 0:
            return "a node needs root: run the same command with sudo"
        if not shutil.which("runc") and not shutil.which("apt-get"):
            return "a node needs runc: install it with the system's package manager"
        try:
            for path in self._cgroup_paths():
                path.mkdir(exist_ok=True)
        except OSError as error:
            return f"a node needs to make cgroups, and cannot here ({error})"
        probe = self._processes.directory / "mount-probe"
        probe.mkdir(parents=True, exist_ok=True)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "tmpfs", probe], capture_output=True, text=True, check=False
        )
        if mounted.returncode:
            return f"a node needs to mount, and cannot here ({mounted.stderr.strip()})"
        subprocess.run(["umount", probe], check=True)
        probe.rmdir()
        return None

    def up(self) -> None:
        """Start containerd and the kubelet and wait until the node is Ready."""
        _install_runc()
        if "port" not in self._state.part(PART):
            port, health = free_ports(2)
            self._state.update(PART, port=port, health_port=health)
        for path in self._cgroup_paths():
            path.mkdir(exist_ok=True)
        self.run_directory.mkdir(exist_ok=True, mode=0o700)
        for name in ("containerd", "kubelet", "pod-logs", "cni", "hosts"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / "cni" / "10-none.conflist").write_text(json.dumps(_CNI))
        pause = push_pause(self._registry, "local/pause")
        self._registry.add_user("node", self._pull_password, pull=["local/*"])
        self._start_containerd(pause)
        self._start_kubelet()
        wait_for(f"node {self.name} becoming Ready", self._ready, timeout=90)

    def down(self) -> None:
        """Delete the Pods, end the kubelet, containerd and what they started, and take their mounts and cgroups away."""
        if self._processes.pid("kubelet") and self._processes.pid("kube-apiserver"):
            self._delete_pods()
        self._processes.stop("kubelet", grace=3)
        self._kill_containers()
        self._processes.stop("containerd", grace=5)

    def clean(self) -> None:
        """Take away what may be left of a node: containers, shims, mounts, cgroups, folders. Safe at any time."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return
        self._kill_containers()
        for mount in sorted(self._mounts(), key=len, reverse=True):
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
        for root in self._cgroup_paths():
            for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
                _remove_cgroup(folder)
            _remove_cgroup(root)
        _remove_dangling_links(Path("/var/log/containers"), self.directory)
        for folder in (self.directory, self.run_directory):
            shutil.rmtree(folder, ignore_errors=True)
        self._state.remove(PART)

    def add_host(self, host: str, server: str) -> None:
        """Make containerd reach a registry host name at another address.

        Args:
            host: as it stands in image references.
            server: the address, as in `http://127.0.0.1:5000`.
        """
        folder = self.hosts_directory / host
        folder.mkdir(parents=True, exist_ok=True)
        text = f'server = "{server}"\n[host."{server}"]\n  capabilities = ["pull", "resolve"]\n'
        (folder / "hosts.toml").write_text(text)

    def forget_image(self, image: str) -> None:
        """Remove an image from the node, so that it must be pulled again."""
        subprocess.run(
            [
                binary("ctr"),
                f"--address={self._socket}",
                "--namespace=k8s.io",
                "images",
                "remove",
                "--sync",
                image,
            ],
            capture_output=True,
            text=True,
            check=True,
        )

    @property
    def _socket(self) -> Path:
        return self.run_directory / "containerd.sock"

    @property
    def _pull_password(self) -> str:
        stored = self._state.part(PART)
        if "pull_password" not in stored:
            stored = self._state.update(PART, pull_password=os.urandom(18).hex())
        return str(stored["pull_password"])

    def _start_containerd(self, pause: str) -> None:
        if self._processes.pid("containerd"):
            return
        shim = self.directory / "bin"
        shim.mkdir(exist_ok=True)
        for name in ("containerd-shim-runc-v2", "ctr"):
            link = shim / name
            link.unlink(missing_ok=True)
            link.symlink_to(binary(name))
        pki.write_private(self.directory / "containerd.toml", self._containerd_config(pause))
        self._processes.start(
            "containerd",
            [binary("containerd"), f"--config={self.directory / 'containerd.toml'}"],
            ready=self._containerd_ready,
            env={"PATH": f"{shim}:{_PATH}", **self._internet.environment, "OTEL_TRACES_EXPORTER": "none"},
        )

    def _containerd_ready(self) -> bool:
        asked: list[str | Path] = [binary("ctr"), f"--address={self._socket}", "version"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    def _containerd_config(self, pause: str) -> str:
        snapshotter = "native" if _is_overlay(self.directory) else "overlayfs"
        return f"""\
version = 3
root = "{self.directory}/containerd"
state = "{self.run_directory}/containerd"
disabled_plugins = ["io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.grpc.v1.diff", "io.containerd.nri.v1.nri"]

[grpc]
address = "{self._socket}"

[plugins."io.containerd.cri.v1.runtime"]
# Without it runc fails where the machine's own oom_score_adj may not be lowered.
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{self.directory}/cni-bin"]
conf_dir = "{self.directory}/cni"

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
Root = "{self.run_directory}/runc"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "{snapshotter}"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"

[plugins."io.containerd.cri.v1.images".registry]
config_path = "{self.hosts_directory}"

[plugins."io.containerd.cri.v1.images".registry.configs."{self._registry.host}".auth]
username = "node"
password = "{self._pull_password}"
"""

    def _start_kubelet(self) -> None:
        if self._processes.pid("kubelet"):
            return
        config = self.directory / "kubelet.json"
        config.write_text(json.dumps(self._kubelet_config(), indent=1))
        kubeconfig = self._kubernetes.kubeconfig_for(f"system:node:{self.name}", groups=("system:nodes",))
        self._processes.start(
            "kubelet",
            [
                binary("kubelet"),
                f"--config={config}",
                f"--kubeconfig={kubeconfig}",
                f"--root-dir={self.directory}/kubelet",
                f"--cert-dir={self.directory}/kubelet-pki",
                f"--hostname-override={self.name}",
                # The kubelet takes no loopback address for itself; what a cloud provider would tell it, _tell_address does.
                "--cloud-provider=external",
            ],
            ready=self._registered,
            env={"PATH": _PATH, "HOME": str(self.directory)},
            timeout=90,
        )
        self._tell_address()

    def _tell_address(self) -> None:
        """Say where the kubelet listens, so that `kubectl logs` and `kubectl exec` find it."""
        path = f"/api/v1/nodes/{self.name}"
        merge = "application/merge-patch+json"
        addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
        self._kubernetes.request(
            "PATCH", f"{path}/status", {"status": {"addresses": addresses}}, content_type=merge
        )
        self._kubernetes.request("PATCH", path, {"spec": {"taints": None}}, content_type=merge)

    def _kubelet_config(self) -> dict[str, Any]:
        stored = self._state.part(PART)
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": stored["port"],
            "readOnlyPort": 0,
            "healthzBindAddress": "127.0.0.1",
            "healthzPort": stored["health_port"],
            "authentication": {
                "anonymous": {"enabled": False},
                "x509": {"clientCAFile": str(self._kubernetes.ca)},
                "webhook": {"enabled": True},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "podLogsDir": str(self.directory / "pod-logs"),
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._cgroup}",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "resolvConf": "",
            # A laptop's nearly full disk is no reason to evict the demo.
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            "imageMaximumGCAge": "0s",
            "syncFrequency": "5s",
            "nodeStatusUpdateFrequency": "5s",
            "serializeImagePulls": False,
            "shutdownGracePeriod": "0s",
        }

    def _registered(self) -> bool:
        return self._kubernetes.get(f"/api/v1/nodes/{self.name}").ok

    def _ready(self) -> bool:
        node = self._kubernetes.get(f"/api/v1/nodes/{self.name}").json()
        ready = any(
            item["type"] == "Ready" and item["status"] == "True" for item in node["status"]["conditions"]
        )
        return ready and not node["spec"].get("taints")

    def _delete_pods(self) -> None:
        path = "/api/v1/pods"
        try:
            for namespace in self._kubernetes.get("/api/v1/namespaces").json()["items"]:
                name = namespace["metadata"]["name"]
                body = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
                self._kubernetes.request("DELETE", f"/api/v1/namespaces/{name}/pods", body)
            deadline = time.monotonic() + 10
            while self._kubernetes.get(path).json()["items"] and time.monotonic() < deadline:
                time.sleep(0.3)
        except (OSError, ValueError, KeyError) as error:
            print(f"the Pods could not be deleted in order ({error}); their processes are ended instead")

    def _kill_containers(self) -> None:
        deadline = time.monotonic() + 10
        while (pids := self._contained()) and time.monotonic() < deadline:
            for pid in pids:
                _kill(pid)
            time.sleep(0.1)

    def _contained(self) -> set[int]:
        found = set()
        for root in self._cgroup_paths():
            for path in [root / "cgroup.procs", *root.rglob("cgroup.procs")]:
                try:
                    found |= {int(line) for line in path.read_text().split()}
                except OSError:
                    continue
        return found

    def _cgroup_paths(self) -> list[Path]:
        if (_CGROUPS / "cgroup.controllers").exists():
            return [_CGROUPS / self._cgroup]
        controllers = [path for path in _CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]
        return [path / self._cgroup for path in controllers if (path / "cgroup.procs").exists()]

    def _mounts(self) -> list[str]:
        ours = (f"{self._processes.directory}/", f"{self.run_directory}/")
        mounts = [line.split()[4].encode().decode("unicode_escape") for line in _mountinfo()]
        return [mount for mount in mounts if mount.startswith(ours)]


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _mountinfo() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _is_overlay(directory: Path) -> bool:
    """Whether a folder lies on an overlay file system, which cannot be the upper layer of another."""
    fields = [line.split() for line in _mountinfo()]
    mounts = {line[4]: line[line.index("-") + 1] for line in fields}
    nearest = next(str(path) for path in (directory, *directory.parents) if str(path) in mounts)
    return mounts[nearest] == "overlay"


def _install_runc() -> None:
    if shutil.which("runc"):
        return
    print("installing Debian's runc (apt-get install runc) ...", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "runc"],
    ):
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def _remove_cgroup(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return


def _remove_dangling_links(folder: Path, target: Path) -> None:
    """Remove the links that the kubelet makes in /var/log/containers to the logs of our Pods."""
    if folder.is_dir():
        for link in folder.iterdir():
            if link.is_symlink() and str(link.readlink()).startswith(f"{target}/"):
                link.unlink()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
