"""Two nodes with raft storage. The standby of OpenBao answers reads itself, a little late. That of HashiCorp
Vault forwards them to the leader."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import requests

from .procs import Processes, free_ports, wait_for

_CONFIG = """
disable_mlock = true
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
storage "raft" {{
  path = "{data}"
  node_id = "{name}"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_disable = true
}}
"""
_LEADS, _STANDS_BY, _NOT_INITIALISED = 200, 429, 501


class VaultPair:
    """The handle of both nodes of `binary`. They are numbered 0 and 1; either may lead."""

    def __init__(self, directory: Path, binary: Path) -> None:
        self._directory = directory
        self._binary = binary
        self._processes = Processes(directory)
        self._key = ""
        self.addrs: list[str] = []
        self.token = ""

    def up(self) -> None:
        """Start both, and wait until the first leads and the second is a standby."""
        ports = free_ports(4)
        self._start("n0", *ports[:2])
        self._start("n1", *ports[2:])
        made = self.call(0, "PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._key, self.token = made["keys_base64"][0], made["root_token"]
        self.unseal(0)
        wait_for("the first node leading", lambda: self._health(0) == _LEADS)
        self.call(1, "PUT", "sys/storage/raft/join", {"leader_api_addr": self.addrs[0]})
        wait_for("the second node standing by", self._joined)

    def down(self) -> None:
        """Stop both."""
        for name in ("n1", "n0"):
            self._processes.stop(name)
        self._processes.sweep()

    def mount(self, path: str) -> None:
        """Create a KV v2 mount, and wait until both nodes have it and accept writes."""
        leader = self.leader()
        self.call(leader, "POST", f"sys/mounts/{path}", {"type": "kv", "options": {"version": "2"}})
        for node in (0, 1):
            wait_for(f"the mount {path} on node {node}", lambda node=node: self.knows(node, f"{path}/config"))  # type: ignore[misc]

    def leader(self) -> int:
        """Wait until a node leads, and return it."""
        wait_for("a leader", lambda: _LEADS in {self._health(0), self._health(1)})
        return 0 if self._health(0) == _LEADS else 1

    def step_down(self) -> None:
        """Make the leader step down, and do not wait for the other node."""
        self.call(self.leader(), "PUT", "sys/step-down")

    def seal_leader(self) -> int:
        """Seal the leader, so that no node leads, because the other node alone is no majority.

        Returns:
            The sealed node.
        """
        leader = self.leader()
        self.call(leader, "PUT", "sys/seal")
        return leader

    def unseal(self, node: int) -> None:
        """Unseal a node, and do not wait for it."""
        self.call(node, "PUT", "sys/unseal", {"key": self._key})

    def call(self, node: int, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send an API request to a node and return the parsed response; None if it has no body.

        Raises:
            requests.HTTPError: the node refused it.
        """
        answer = requests.request(
            method,
            f"{self.addrs[node]}/v1/{path}",
            json=body,
            headers={"X-Vault-Token": self.token},
            timeout=10,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _start(self, name: str, port: int, cluster_port: int) -> None:
        data = self._directory / name
        data.mkdir(parents=True)
        config = self._directory / f"{name}.hcl"
        config.write_text(_CONFIG.format(port=port, cluster_port=cluster_port, data=data, name=name))
        node = len(self.addrs)
        self.addrs.append(f"http://127.0.0.1:{port}")
        self._processes.start(
            name,
            [self._binary, "server", f"-config={config}"],
            ready=lambda: self._health(node) == _NOT_INITIALISED,
            env={"PATH": os.environ["PATH"], "HOME": str(self._directory)},
        )

    def _joined(self) -> bool:
        self.unseal(1)
        return self._health(1) == _STANDS_BY

    def _health(self, node: int) -> int:
        return requests.get(f"{self.addrs[node]}/v1/sys/health", timeout=2).status_code

    def knows(self, node: int, path: str) -> bool:
        """Whether a node itself can serve a path."""
        return requests.get(
            f"{self.addrs[node]}/v1/{path}", headers={"X-Vault-Token": self.token}, timeout=2
        ).ok
