"""The system registry on real parts: OpenBao signs, the token server runs as in a cluster, and two servers
of Distribution trust it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hvac
import jwt
import requests
import uvicorn
from pydantic import SecretStr

from realparts.build import binary
from realparts.debian import install
from realparts.internet import Internet
from realparts.procs import Processes, free_ports, wait_for
from realparts.system_registry import sign_in
from realparts.vault import Vault
from regcred.adapters.identity_tokens import IdentityTokens
from regcred.token import jose, signing_keys
from regcred.token.service import TokenService
from regcred.token.web import application
from regcred.vault.http import Server
from regcred.vault.kv2 import VaultKeyValue, signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform import apply_platform, ensure_project, load
from regcred.vault.platform.system import TRANSIT, SystemPlatform
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.records.system import ACCESS_KEY, CLIENT_ID, LOGIN_KEY, SystemConfig, SystemKeys
from regcred.vault.store import Store
from regcred.vault.system import CONFIG, KEYS, SystemRecords, VaultPeople
from regcred.vault.transit import TransitSigner

ROOT = Path(__file__).resolve().parents[2]
ISSUER = "regcred-system"
TOKEN_HOST = "token.example.com"
IDENTITY_POLICY = "system-registry-sign-in"
"""For people who are in none of Regcred's groups, whose policies allow this too."""
SERVICE = "registry.system.example.com"
Login = tuple[str, str]
"""A user and a password."""


@dataclass
class SystemRegistry:
    """The keys in OpenBao, the token server, and the registries that :meth:`registry` adds."""

    vault: Vault
    processes: Processes
    directory: Path
    internet: Internet
    header: str = "kid"
    version: str = "3"
    token_port: int = 0
    realm: str = f"https://{TOKEN_HOST}"
    """Where registries send clients for a token."""
    registries: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The address of the token server without the names of the local internet."""
        return f"http://127.0.0.1:{self.token_port}"

    def root(self) -> hvac.Client:
        return self.client(self.vault.root_token)

    def client(self, token: str) -> hvac.Client:
        return signed_in(Server(self.vault.addr), TokenLogin(lambda: SecretStr(token)))

    @property
    def records(self) -> SystemRecords:
        return SystemRecords(VaultKeyValue(self.root()))

    def now(self) -> datetime:
        return datetime.now(UTC)

    def set_up(self, *projects: str) -> None:
        """Do what `platform apply`, `system init` and platform admins do."""
        platform = load(ROOT / "infra" / "vault").with_declaration(system_registry=True)
        apply_platform(self.root(), platform)
        for project in projects:
            ensure_project(self.root(), platform, project)
            policy = ProjectPolicy(role_arn=f"arn:aws:iam::123456789012:role/regcred/regcred-{project}")
            Store(VaultKeyValue(self.root())).write_project(project, policy, cas=0)
        (self.token_port,) = free_ports(1)
        self.internet.route(TOKEN_HOST, self.token_port)
        self.write_config()
        self.publish()

    def write_config(self, **changes: Any) -> None:
        config = SystemConfig(
            host="system.example.com",
            token_url=f"https://{TOKEN_HOST}",
            issuer=ISSUER,
            service=SERVICE,
            key_header=self.header,
        ).model_copy(update=changes)
        _, version = self.records.read(CONFIG, SystemConfig)
        self.records.write(CONFIG, config, cas=version)

    def publish(self, *, signs_in: timedelta = timedelta()) -> SystemKeys:
        """Publish the versions of the keys that are not published yet."""
        system = SystemPlatform(self.root())
        old, cas = self.records.read(KEYS, SystemKeys)
        keys = signing_keys.with_access_keys(
            old or SystemKeys(),
            system.public_keys(ACCESS_KEY),
            signs_from=self.now() + signs_in,
            now=datetime.now(UTC),
        )
        keys = signing_keys.with_login_keys(keys, system.public_keys(LOGIN_KEY))
        self.records.write(KEYS, keys, cas=cas)
        return keys

    def service(self) -> TokenService:
        """The token server with only the rights of its policy."""
        token = self.root().auth.token.create(policies=["regcred-token"], ttl="1h")["auth"]["client_token"]
        client = self.client(token)
        return TokenService(
            records=SystemRecords(VaultKeyValue(client)),
            people=VaultPeople(client, CLIENT_ID),
            issuers=IdentityTokens(now=lambda: self.now().timestamp()),
            tokens=TransitSigner(client, TRANSIT, ACCESS_KEY),
            logins=TransitSigner(client, TRANSIT, LOGIN_KEY),
            now=self.now,
        )

    @contextmanager
    def serving(self) -> Iterator[None]:
        server = uvicorn.Server(
            uvicorn.Config(
                application(self.service()), host="127.0.0.1", port=self.token_port, log_level="warning"
            )
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        wait_for("the token server", lambda: requests.get(f"{self.address}/healthz", timeout=2).ok)
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(10)

    def person(self, name: str, *groups: str) -> str:
        """Create a person in these groups, and return the person's identity token."""
        token = self.vault_token(name, *groups)
        answer = self.client(token).adapter.get(f"/v1/identity/oidc/token/{CLIENT_ID}")
        return str(answer["data"]["token"])

    def vault_token(self, name: str, *groups: str) -> str:
        """Create a person in these groups, and return the person's Vault token."""
        root = self.root()
        root.sys.create_or_update_policy(
            IDENTITY_POLICY, f'path "identity/oidc/token/{CLIENT_ID}" {{ capabilities = ["read"] }}'
        )
        return sign_in(self.vault, name, groups, policies=(IDENTITY_POLICY,))

    def program(self, name: str) -> Path:
        return binary(name)

    def login(self, identity_token: str, **body: Any) -> tuple[str, str]:
        """Create a login with an identity token, and return its user and password."""
        answer = requests.post(
            f"{self.address}/v1/logins",
            json=body,
            headers={"Authorization": f"Bearer {identity_token}"},
            timeout=10,
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["username"], answer.json()["password"]

    def token(self, login: tuple[str, str] | None, *scopes: str, service: str = SERVICE) -> requests.Response:
        query = [("service", service), *(("scope", scope) for scope in scopes)]
        return requests.get(f"{self.address}/token", params=query, auth=login, timeout=10)

    def registry(self, name: str) -> str:
        """Start a registry that trusts the keys published now, and return its host."""
        port = self.ports.setdefault(name, free_ports(1)[0])
        version = self.version
        folder = self.directory / name
        folder.mkdir(parents=True, exist_ok=True)
        keys = self.records.keys()
        (folder / "jwks.json").write_text(json.dumps(keys.jwks()))
        (folder / "bundle.pem").write_text(keys.bundle())
        trust = (
            {"jwks": str(folder / "jwks.json"), "signingalgorithms": ["ES256"]}
            if version == "3" and self.header == "kid"
            else {"rootcertbundle": str(folder / "bundle.pem")}
        )
        settings = self.records.config()
        token = {
            "realm": f"{self.realm}/token",
            "service": settings.service,
            "issuer": settings.issuer,
            **trust,
        }
        config = {
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{port}", "relativeurls": True},
            "auth": {"token": token},
        }
        (folder / "config.json").write_text(json.dumps(config))
        if version != "3":
            install("docker-registry")
        program: str | Path = binary("registry") if version == "3" else "docker-registry"
        self.processes.stop(f"registry-{name}")
        self.processes.start(
            f"registry-{name}",
            [program, "serve", folder / "config.json"],
            ready=lambda: requests.get(f"http://127.0.0.1:{port}/v2/", timeout=2).status_code == 401,
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        )
        self.registries[name] = f"{name.replace('.', '-')}.system.example.com"
        self.internet.route(self.registries[name], port)
        return self.registries[name]

    def restart(self, name: str) -> None:
        """Start a registry again, because it loads keys only at its start."""
        self.registry(name)

    def sign_from(self, time: datetime) -> None:
        """Move the time from which the newest key signs, as if days had passed."""
        stored, cas = self.records.read(KEYS, SystemKeys)
        assert stored is not None
        newest = stored.keys[-1].model_copy(update={"signs_from": time})
        self.records.write(KEYS, stored.model_copy(update={"keys": [*stored.keys[:-1], newest]}), cas=cas)

    def sign_access(self, claims: Mapping[str, Any]) -> str:
        """An access token with any claims, signed by the real key."""
        key = self.records.keys().keys[-1]
        named = {"kid": key.kid} if self.header == "kid" else {"x5c": jose.x5c(key.certificate)}
        signer = TransitSigner(self.root(), TRANSIT, ACCESS_KEY)
        return jose.assemble(named, claims, lambda data: signer.sign(data, version=key.version))

    def leave(self, group: str, name: str) -> None:
        """Remove a person from a group."""
        root = self.root()
        signed = root.auth.token.lookup(sign_in(self.vault, name, ()))["data"]
        members = root.adapter.get(f"/v1/identity/group/name/{group}")["data"]["member_entity_ids"]
        left = [member for member in members if member != signed["entity_id"]]
        root.adapter.post(f"/v1/identity/group/name/{group}", json={"member_entity_ids": left})

    def sign_login(self, header: Mapping[str, Any], claims: Mapping[str, Any], *, by: str = LOGIN_KEY) -> str:
        """A login with any header and claims, signed by one of the real keys."""
        signer = TransitSigner(self.root(), TRANSIT, by)
        return jose.assemble(header, claims, signer.sign)

    def crane(self, login: tuple[str, str] | None, *args: str) -> subprocess.CompletedProcess[str]:
        """Run crane with a login, or without one."""
        return self.tool(login, binary("crane"), *args)

    def tool(
        self, login: tuple[str, str] | None, program: str | Path, *args: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program that reads Docker's config.json, with a login or without one."""
        home = self.directory / f"home-{time.monotonic_ns()}"
        folder = home / ".docker"
        folder.mkdir(parents=True)
        if login:
            auth = base64.b64encode(":".join(login).encode()).decode()
            auths = {host: {"auth": auth} for host in self.registries.values()}
            (folder / "config.json").write_text(json.dumps({"auths": auths}))
        return subprocess.run(
            [program, *args],
            env={**os.environ, **self.internet.environment, "HOME": str(home), "DOCKER_CONFIG": str(folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )


def push(system: SystemRegistry, login: Login | None, image: str, layer: Path) -> bool:
    """Push an image with one layer. Return whether the registry accepts it."""
    return system.crane(login, "append", "--oci-empty-base", "-f", str(layer), "-t", image).returncode == 0


def pull(system: SystemRegistry, login: Login | None, image: str) -> bool:
    """Whether a login may pull an image."""
    return system.crane(login, "manifest", image).returncode == 0


def named_key(token: str) -> object:
    """The key that the header of a token names."""
    header = jwt.get_unverified_header(token)
    return header.get("kid") or header["x5c"]
