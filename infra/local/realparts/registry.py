"""A Distribution registry that checks credentials by token authentication, and its handle."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

from . import journal, pki
from .build import binary
from .control_client import control
from .distribution import configuration
from .internet import Internet, python_environment
from .procs import Processes, free_ports, listening
from .state import State
from .token_server.access import ISSUER, SERVICE

PART = "registry"
# The host names that the local internet routes to this registry.
HOST_NAMES = ("registry.example.com", "*.dkr.ecr.*", "*.dkr-ecr.*", "*.dkr.ecr-fips.*", "*.dkr-ecr-fips.*")
_PUSHER = "realparts-pusher"


class Registry:
    """The handle of the registry."""

    def __init__(self, processes: Processes, state: State, internet: Internet) -> None:
        self._processes = processes
        self._state = state
        self._internet = internet
        self.directory = processes.directory / PART

    @property
    def host(self) -> str:
        """The registry's local address, `127.0.0.1:PORT`, over http."""
        return f"127.0.0.1:{self._state.part(PART)['port']}"

    @property
    def ecr_key(self) -> Path:
        """The key that signs `AWS:` logins, which the ECR stand-in has too."""
        return ecr_key(self._processes.directory)

    def up(self) -> None:
        """Start the registry and its token server, and route its host names to it."""
        if "port" not in self._state.part(PART):
            port, control, upstream = free_ports(3)
            ports: dict[str, Any] = {"port": port, "control_port": control, "upstream_port": upstream}
            self._state.update(PART, **ports, pusher=secrets.token_urlsafe(24))
        stored = self._state.part(PART)
        self.directory.mkdir(parents=True, exist_ok=True)
        authority = pki.Authority(self.directory / "pki", "regcred local registry")
        base = f"http://127.0.0.1:{stored['upstream_port']}"
        if not self._processes.pid("registry"):
            config = self.directory / "config.json"
            config.write_text(json.dumps(self._config(authority.certificate), indent=1))
            self._processes.start(
                "registry",
                [binary("registry"), "serve", config],
                ready=lambda: requests.get(f"{base}/v2/", timeout=2).status_code == 401,
                env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
            )
        if not self._processes.pid("registry-tokens"):
            self._processes.start(
                "registry-tokens",
                [
                    sys.executable,
                    "-m",
                    "realparts.token_server",
                    f"--port={stored['port']}",
                    f"--control-port={stored['control_port']}",
                    f"--upstream={base}",
                    f"--directory={self.directory}",
                    f"--ecr-key={self.ecr_key}",
                ],
                ready=lambda: listening(stored["port"]) and listening(stored["control_port"]),
                env=python_environment(),
            )
        self.add_user(_PUSHER, stored["pusher"], push=["*"])
        for name in HOST_NAMES:
            self._internet.route(name, stored["port"])

    def down(self) -> None:
        """Stop the registry and delete its images and users."""
        for name in ("registry-tokens", "registry"):
            self._processes.stop(name)
        shutil.rmtree(self.directory, ignore_errors=True)
        self._state.remove(PART)

    def add_user(
        self,
        name: str,
        password: str | None = None,
        *,
        pull: list[str] | None = None,
        push: list[str] | None = None,
        hosts: list[str] | None = None,
        expires_in: float | None = None,
    ) -> str:
        """Create or replace a user, and return the password.

        Args:
            name: the user's name.
            password: the password; a random one if None.
            pull: patterns of the repositories it may pull.
            push: patterns of the repositories it may pull and push.
            hosts: patterns of the host names where the user exists; all if None.
            expires_in: the lifetime in seconds; no expiry if None.
        """
        password = password or secrets.token_urlsafe(24)
        body: dict[str, Any] = {
            "password": password,
            "pull": pull or [],
            "push": push or [],
            "hosts": hosts or ["*"],
        }
        if expires_in is not None:
            body["expires_at"] = time.time() + expires_in
        self._control("PUT", f"users/{name}", body)
        return password

    def set_password(self, name: str, password: str, **rights: Any) -> str:
        """Replace a user's password. The old one is refused at once. The rights are those of `add_user`."""
        return self.add_user(name, password, **rights)

    def revoke_user(self, name: str) -> None:
        """Refuse a user from now on."""
        self._control("POST", f"users/{name}/revoke", {})

    def revoke_ecr_token(self, password: str) -> None:
        """Refuse one `AWS:` login from now on, for tests. The real ECR can't do this."""
        self._control("POST", "ecr/revoke", {"password": password})

    def allow_account(self, owner: str, repository: str, account: str) -> None:
        """Give `account` access to matching repositories of `owner`, as a repository policy does."""
        self._control(
            "PUT", "ecr/cross-account", {"owner": owner, "repository": repository, "account": account}
        )

    def throttle(self, host: str, seconds: float) -> None:
        """Respond with 429 on this host name for some seconds; 0 stops it."""
        self._control("PUT", f"throttle/{host}", {"seconds": seconds})

    def events(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return the requests to the registry that have the wanted values, oldest first.

        Each event has `time`, `kind` (token or request), `host`, `user`, and `outcome` (accepted, refused or
        throttled). A token event also has `scope` and `access`. A request event also has `method`, `path`,
        `repository`, `reference`, `status` and `agent`.
        """
        return journal.read(self.directory, **wanted)

    def pulls(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return the requests for manifests, also refused ones, in the form of `events`."""
        return [event for event in self.events(kind="request", **wanted) if "/manifests/" in event["path"]]

    def push(self, archive: Path, repository: str, *, entrypoint: str, tag: str = "1") -> str:
        """Create an image with one layer from a tar archive, push it, and return its local name."""
        reference = f"{self.host}/{repository}:{tag}"
        # Without --oci-empty-base, crane could create an image that equals its base.
        self._crane("append", "--oci-empty-base", "-f", archive, "-t", reference)
        self._crane(
            "mutate",
            reference,
            "-t",
            reference,
            f"--entrypoint={entrypoint}",
            "--set-platform=" + _platform(),
            f"--label=repository={repository}",
        )
        # Verification without a tag requests this one.
        self._crane("tag", reference, "latest")
        return reference

    def _crane(self, *args: str | Path) -> None:
        config = self.directory / "crane"
        if not (config / "config.json").exists():
            login = {"username": _PUSHER, "password": self._state.part(PART)["pusher"]}
            config.mkdir(exist_ok=True)
            pki.write_private(config / "config.json", json.dumps({"auths": {self.host: login}}))
        result = subprocess.run(
            [binary("crane"), *args],
            env={"PATH": os.environ["PATH"], "HOME": str(config), "DOCKER_CONFIG": str(config)},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise RuntimeError(f"crane {args[0]}: {result.stderr.strip()}")

    def _control(self, method: str, path: str, body: dict[str, Any]) -> None:
        control(self._state.part(PART)["control_port"], method, path, body)

    def _config(self, root: Path) -> dict[str, Any]:
        return configuration(
            self.directory,
            http={
                "addr": f"127.0.0.1:{self._state.part(PART)['upstream_port']}",
                "relativeurls": True,
                "secret": secrets.token_hex(16),
            },
            token={
                "realm": "https://registry.example.com/auth/token",
                "autoredirect": True,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(root),
            },
        )


def ecr_key(directory: Path) -> Path:
    """Return the file with the key of `AWS:` logins in this folder. Create it at first use."""
    path = directory / "ecr-token.key"
    if not path.exists():
        pki.write_private(path, secrets.token_bytes(32))
    return path


def _platform() -> str:
    return {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}.get(
        os.uname().machine, f"linux/{os.uname().machine}"
    )
