"""containerd, the node's container runtime, with runc."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from . import pki
from .build import binary
from .debian import install
from .internet import Internet
from .node_resources import is_overlay
from .procs import Processes

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CNI = {
    # With a configuration, the runtime reports that the node has a network. Pods with hostNetwork never use
    # it.
    "cniVersion": "0.4.0",
    "name": "none",
    "plugins": [{"type": "loopback"}],
}


class Containerd:
    """The handle.

    Args:
        processes: the processes of the stack.
        internet: the proxy for its pulls.
        directory: the node's folder.
        run_directory: the folder of its sockets and mounts.
    """

    def __init__(
        self, processes: Processes, internet: Internet, *, directory: Path, run_directory: Path
    ) -> None:
        self._processes = processes
        self._internet = internet
        self._directory = directory
        self._run_directory = run_directory

    @property
    def socket(self) -> Path:
        """The socket for the kubelet."""
        return self._run_directory / "containerd.sock"

    @property
    def hosts_directory(self) -> Path:
        """Its `config_path`, with one folder for each registry host."""
        return self._directory / "hosts"

    def start(self, *, pause: str, registry: str, password: str) -> None:
        """Start it unless it runs already.

        Args:
            pause: the image for the sandboxes of Pods.
            registry: the host from which it pulls that image as user `node`.
            password: the password of that user.
        """
        if self._processes.pid("containerd"):
            return
        install("runc")
        for name in ("containerd", "cni", "hosts"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        (self._directory / "cni" / "10-none.conflist").write_text(json.dumps(_CNI))
        path = self._directory / "containerd.toml"
        pki.write_private(path, self._config(pause, registry, password))
        self._processes.start(
            "containerd",
            [binary("containerd"), f"--config={path}"],
            ready=self._ready,
            env={
                "PATH": f"{self._link_tools()}:{SYSTEM_PATH}",
                **self._internet.environment,
                "OTEL_TRACES_EXPORTER": "none",
            },
        )

    def add_host(self, host: str, server: str) -> None:
        """Use another address for a registry host name.

        Args:
            host: the host in image references.
            server: the address, as in `http://127.0.0.1:5000`.
        """
        folder = self.hosts_directory / host
        folder.mkdir(parents=True, exist_ok=True)
        text = f'server = "{server}"\n[host."{server}"]\n  capabilities = ["pull", "resolve"]\n'
        (folder / "hosts.toml").write_text(text)

    def forget_image(self, image: str) -> None:
        """Remove an image, so that it must be pulled again."""
        remove: list[str | Path] = ["--namespace=k8s.io", "images", "remove", "--sync", image]
        subprocess.run([*self._ctr, *remove], capture_output=True, text=True, check=True)

    @property
    def _ctr(self) -> list[str | Path]:
        return [binary("ctr"), f"--address={self.socket}"]

    def _ready(self) -> bool:
        return subprocess.run([*self._ctr, "version"], capture_output=True, check=False).returncode == 0

    def _link_tools(self) -> Path:
        """Return the folder in which containerd finds its tools."""
        folder = self._directory / "bin"
        folder.mkdir(exist_ok=True)
        for name in ("containerd-shim-runc-v2", "ctr"):
            link = folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(binary(name))
        return folder

    def _config(self, pause: str, registry: str, password: str) -> str:
        snapshotter = "native" if is_overlay(self._directory) else "overlayfs"
        return f"""\
version = 3
root = "{self._directory}/containerd"
state = "{self._run_directory}/containerd"
disabled_plugins = ["io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.grpc.v1.diff", "io.containerd.nri.v1.nri"]

[grpc]
address = "{self.socket}"

[plugins."io.containerd.cri.v1.runtime"]
# Without it, runc fails if the machine does not allow a lower oom_score_adj.
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{self._directory}/cni-bin"]
conf_dir = "{self._directory}/cni"

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
Root = "{self._run_directory}/runc"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "{snapshotter}"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"

[plugins."io.containerd.cri.v1.images".registry]
config_path = "{self.hosts_directory}"

[plugins."io.containerd.cri.v1.images".registry.configs."{registry}".auth]
username = "node"
password = "{password}"
"""
