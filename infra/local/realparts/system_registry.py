"""The system registry: Distribution and Regcred's token server, which signs in to Vault as on Lambda.

Vault signs the tokens. :meth:`System.person` creates people who push and pull.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys

import hvac
import requests
from pydantic import SecretStr

from regcred.vault.http import Server
from regcred.vault.kv2 import VaultKeyValue, signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform.system import SystemPlatform
from regcred.vault.system import SystemRecords
from regcred.wiring.cli.system import OwnSystem

from .aws import Aws
from .build import LOCAL, binary
from .distribution import configuration
from .internet import Internet, python_environment
from .procs import Processes, free_ports
from .state import State
from .vault import Vault

PART = "system"
HOST = "system.example.com"
TOKEN_HOST = "token.system.example.com"
REGISTRY, TOKENS = "system-registry", "system-tokens"
"""The names of its two processes."""
APP = LOCAL.parents[1] / "functions" / "token" / "app.py"


class System:
    """The handle of the system registry."""

    def __init__(
        self, processes: Processes, state: State, internet: Internet, *, vault: Vault, aws: Aws
    ) -> None:
        self._processes = processes
        self._state = state
        self._internet = internet
        self._vault = vault
        self._aws = aws
        self.directory = processes.directory / PART

    @property
    def prepared(self) -> bool:
        """Whether it runs or will be started. If so, Vault must be set up for it."""
        return bool(self._state.part(PART))

    @property
    def token_address(self) -> str:
        """The token server's local address, without the local proxy."""
        return f"http://127.0.0.1:{self._state.part(PART)['token_port']}"

    def prepare(self) -> None:
        """Choose the ports, at the first start."""
        if not self.prepared:
            port, token_port = free_ports(2)
            self._state.update(PART, port=port, token_port=token_port, secret=secrets.token_hex(16))

    def up(self, *, role: str, environment: dict[str, str]) -> None:
        """Set it up in Vault, start both servers, and route their host names.

        The registry restarts if its keys have changed.

        Args:
            role: the ARN of the IAM role with which the token server signs in to Vault.
            environment: the token server's variables, as in template.yaml.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        stored = self._state.part(PART)
        given = {
            "host": HOST,
            "token_url": f"https://{TOKEN_HOST}",
            "issuers": [{"issuer": self._aws.web_identity_issuer()}],
        }
        own = self._own()
        config, _ = own.set_up(given)
        self._start_registry(stored, issuer=config.issuer, service=config.service, keys=own.keys().jwks())
        if not self._processes.pid(TOKENS):
            self._aws.add_role(role, policy=SIGN_IN, max_session_seconds=43200)
            self._processes.start(
                TOKENS,
                [sys.executable, APP],
                ready=lambda: requests.get(f"{self.token_address}/healthz", timeout=2).ok,
                env={
                    **python_environment(),
                    **self._internet.environment,
                    **self._aws.session_environment(role, "regcred-token"),
                    **environment,
                    "REGCRED_TOKEN_HOST": "127.0.0.1",
                    "REGCRED_TOKEN_PORT": str(stored["token_port"]),
                },
            )
        self._internet.route(HOST, stored["port"])
        self._internet.route(TOKEN_HOST, stored["token_port"])

    def down(self) -> None:
        """Stop both servers and delete the images."""
        for name in (TOKENS, REGISTRY):
            self._processes.stop(name)
        shutil.rmtree(self.directory, ignore_errors=True)
        self._state.remove(PART)

    def person(self, name: str, *groups: str) -> str:
        """Create a person in these groups of Vault, and return the person's Vault token.

        Args:
            name: the user name.
            groups: such as ``regcred-admins-shop``; the project must exist.
        """
        return sign_in(self._vault, name, groups)

    def _own(self) -> OwnSystem:
        client = signed_in(Server(self._vault.addr), TokenLogin(lambda: SecretStr(self._vault.root_token)))
        return OwnSystem(SystemRecords(VaultKeyValue(client)), SystemPlatform(client))

    def _start_registry(self, stored: dict[str, str], *, issuer: str, service: str, keys: object) -> None:
        trusted, text = self.directory / "jwks.json", json.dumps(keys)
        if self._processes.pid(REGISTRY) and trusted.exists() and trusted.read_text() == text:
            return
        trusted.write_text(text)
        config = configuration(
            self.directory,
            http={
                "addr": f"127.0.0.1:{stored['port']}",
                "host": f"https://{HOST}",
                "secret": stored["secret"],
            },
            token={
                "realm": f"https://{TOKEN_HOST}/token",
                "service": service,
                "issuer": issuer,
                "jwks": str(trusted),
            },
        )
        path = self.directory / "config.json"
        path.write_text(json.dumps(config, indent=1))
        self._processes.stop(REGISTRY)
        self._processes.start(
            REGISTRY,
            [binary("registry"), "serve", path],
            ready=lambda: (
                requests.get(f"http://127.0.0.1:{stored['port']}/v2/", timeout=2).status_code == 401
            ),
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        )


SIGN_IN = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:GetWebIdentityToken", "Resource": "*"}],
}


def sign_in(vault: Vault, name: str, groups: tuple[str, ...], *, policies: tuple[str, ...] = ()) -> str:
    """Create a person of Vault with a password, in these groups, and return the person's Vault token."""
    root = hvac.Client(vault.addr, token=vault.root_token)
    if "userpass/" not in root.sys.list_auth_methods()["data"]:
        root.sys.enable_auth_method("userpass")
    password = secrets.token_urlsafe(16)
    root.auth.userpass.create_or_update_user(name, password=password, token_policies=list(policies))
    signed = hvac.Client(vault.addr).auth.userpass.login(name, password)["auth"]
    for group in groups:
        found = root.adapter.get(f"/v1/identity/group/name/{group}")["data"]
        members = sorted({*(found["member_entity_ids"] or []), signed["entity_id"]})
        root.adapter.post(f"/v1/identity/group/name/{group}", json={"member_entity_ids": members})
    return str(signed["client_token"])
