"""A real Kubernetes node without Docker: containerd and the kubelet, beside the control plane.

It needs root, writable cgroups and mounts. The Pods' cgroups are in one cgroup of the node, the sockets in
one folder, and all mounts in two folders of the stack. So everything can be found and removed, even after a
crash. Pods use `hostNetwork: true`, because there is no network plugin.
"""

from __future__ import annotations

import os
from pathlib import Path

from .containerd import Containerd
from .images import push_pause
from .internet import Internet
from .kubelet import Kubelet
from .kubernetes import Kubernetes
from .node_resources import NodeResources
from .procs import Processes, free_ports
from .registry import Registry
from .state import State

PART = "node"


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
        self._registry = registry
        self.directory = processes.directory / PART
        self._resources = NodeResources(processes.directory, self.directory)
        self._containerd = Containerd(
            processes, internet, directory=self.directory, run_directory=self._resources.run_directory
        )
        self._kubelet = Kubelet(processes, kubernetes, name=self.name, directory=self.directory)

    @property
    def name(self) -> str:
        """The node's name."""
        return self._resources.name

    @property
    def run_directory(self) -> Path:
        """The folder of its sockets."""
        return self._resources.run_directory

    def impossible(self) -> str | None:
        """Return why this machine can't run a node; None if it can."""
        return self._resources.impossible()

    def up(self) -> None:
        """Start containerd and the kubelet and wait until the node is Ready."""
        if "port" not in self._state.part(PART):
            port, health = free_ports(2)
            self._state.update(PART, port=port, health_port=health)
        self._resources.make()
        pause = push_pause(self._registry, "local/pause")
        password = self._registry.add_user("node", self._pull_password, pull=["local/*"])
        self._containerd.start(pause=pause, registry=self._registry.host, password=password)
        stored = self._state.part(PART)
        self._kubelet.start(
            runtime=self._containerd.socket, port=stored["port"], health_port=stored["health_port"]
        )

    def down(self) -> None:
        """Delete the Pods, and stop the kubelet, containerd and everything that they started."""
        self._kubelet.delete_pods()
        self._kubelet.stop()
        self._resources.kill_all()
        self._processes.stop("containerd", grace=5)

    def clean(self) -> None:
        """Remove what may be left of a node: containers, shims, mounts, cgroups, folders.

        Safe to call at any time.
        """
        self._resources.take_away()
        self._state.remove(PART)

    def add_host(self, host: str, server: str) -> None:
        """Make containerd reach a registry host name at another address, as in `http://127.0.0.1:5000`."""
        self._containerd.add_host(host, server)

    def forget_image(self, image: str) -> None:
        """Remove an image from the node, so that it must be pulled again."""
        self._containerd.forget_image(image)

    @property
    def _pull_password(self) -> str:
        stored = self._state.part(PART)
        if "pull_password" not in stored:
            stored = self._state.update(PART, pull_password=os.urandom(18).hex())
        return str(stored["pull_password"])
