"""The servers that the contract runs on: a fake, OpenBao, a standby of OpenBao, and HashiCorp Vault where one is named."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fakes.key_value import FakeKeyValue
from pydantic import SecretStr

from realparts.procs import Processes, free_ports, wait_for
from realparts.state import State
from realparts.vault import Vault, bao
from regcred.vault.http import Server
from regcred.vault.interface import KeyValue
from regcred.vault.kv2 import connect, signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform import (
    ClusterTrust,
    LambdaTrust,
    Platform,
    apply_platform,
    ensure_project,
    load,
)

ROOT = Path(__file__).resolve().parents[3]
RAFT = """
disable_mlock = true
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
storage "raft" {{
  path = "{data}"
  node_id = "{name}"
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_disable = true
}}
"""


def short(seconds: float) -> None:
    """Wait a tenth of what a client would: a server in a test recovers sooner than one far away."""
    time.sleep(seconds / 10)


@dataclass
class Backend:
    """One place to keep documents in, and what a test may do to it behind the back of :class:`KeyValue`."""

    open: Callable[[], KeyValue]
    """Another client of it."""
    put: Callable[[str, Mapping[str, object]], None]
    """Write anything, as another tool might."""
    seal: Callable[[], None]
    unseal: Callable[[], None]
    restart: Callable[[], None]


@dataclass
class Real:
    """A server that is set up as ``infra/vault`` says."""

    vault: Vault
    platform: Platform

    @property
    def addr(self) -> str:
        return self.vault.addr

    def as_token(self, token: str) -> KeyValue:
        return connect(Server(self.addr), TokenLogin(lambda: SecretStr(token)), sleep=short)

    def client(self, token: str = "") -> hvac.Client:
        """A client that may do everything, or what a token may."""
        return signed_in(Server(self.addr), TokenLogin(lambda: SecretStr(token or self.vault.root_token)))

    def reset(self) -> None:
        """Set up what is declared and two projects, and nothing more."""
        apply_platform(self.client(), self.platform, prune=True)
        for project in ("payments", "search"):
            ensure_project(self.client(), self.platform, project)

    def backend(self) -> Backend:
        def put(path: str, fields: Mapping[str, object]) -> None:
            self.vault.call("POST", f"regcred/data/{path}", {"data": dict(fields), "options": {"cas": 0}})

        return Backend(
            open=lambda: self.as_token(self.vault.root_token),
            put=put,
            seal=self.vault.seal,
            unseal=self.vault.unseal,
            restart=self.vault.restart,
        )


@dataclass(frozen=True)
class Keys:
    """A cluster's, or a cloud's, signing key."""

    private: rsa.RSAPrivateKey
    public_pem: str


def new_keys() -> Keys:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Keys(private, pem.decode())


@pytest.fixture(scope="session")
def keys() -> dict[str, Keys]:
    """Signing keys of two clusters and of the cloud."""
    return {name: new_keys() for name in ("c1", "c2", "aws")}


def _real(directory: Path, binary: Path | None, keys: dict[str, Keys]) -> Iterator[Real]:
    processes = Processes(directory)
    vault = Vault(processes, State(directory), binary=binary)
    vault.up()
    try:
        real = Real(vault, declared(keys))
        real.reset()
        yield real
    finally:
        vault.down()
        processes.sweep()


def declared(keys: dict[str, Keys]) -> Platform:
    """What ``infra/vault`` declares, with two clusters and the Lambdas."""
    return load(ROOT / "infra" / "vault").with_declaration(
        clusters={name: ClusterTrust(public_keys=[keys[name].public_pem]) for name in ("c1", "c2")},
        lambda_jwt=LambdaTrust(
            issuer="https://issuer.example.com",
            audience="https://vault.example.com",
            dispatch=["arn:aws:iam::123456789012:role/regcred-dispatch"],
            rotate=["arn:aws:iam::123456789012:role/regcred-rotate"],
            console=["arn:aws:iam::123456789012:role/regcred-console"],
            public_keys=[keys["aws"].public_pem],
        ),
    )


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Keys]) -> Iterator[Real]:
    yield from _real(tmp_path_factory.mktemp("openbao"), None, keys)


@pytest.fixture(scope="session")
def hashicorp(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Keys]) -> Iterator[Real]:
    yield from _real(tmp_path_factory.mktemp("hashicorp"), Path(os.environ["VAULT_BIN"]), keys)


@pytest.fixture(scope="session")
def standby(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """The second of two OpenBao nodes with raft storage: it answers reads itself, a little late."""
    directory = tmp_path_factory.mktemp("raft")
    processes = Processes(directory)
    ports = free_ports(4)
    addrs = []
    try:
        for name, port, cluster_port in (("n1", *ports[:2]), ("n2", *ports[2:])):
            data = directory / name
            data.mkdir()
            config = directory / f"{name}.hcl"
            config.write_text(RAFT.format(port=port, cluster_port=cluster_port, data=data, name=name))
            addr = f"http://127.0.0.1:{port}"
            processes.start(
                name,
                [bao(), "server", f"-config={config}"],
                ready=lambda addr=addr: requests.get(f"{addr}/v1/sys/health", timeout=2).status_code == 501,
                env={"PATH": os.environ["PATH"], "HOME": str(directory)},
            )
            addrs.append(addr)
        token = _form_raft(*addrs)

        def open_second() -> KeyValue:
            return connect(Server(addrs[1]), TokenLogin(lambda: SecretStr(token)))

        def put(path: str, fields: Mapping[str, object]) -> None:
            headers = {"X-Vault-Token": token}
            requests.post(
                f"{addrs[0]}/v1/regcred/data/{path}", json={"data": dict(fields)}, headers=headers, timeout=10
            ).raise_for_status()
            wait_for(
                "replication",
                lambda: requests.get(f"{addrs[1]}/v1/regcred/data/{path}", headers=headers, timeout=10).ok,
            )

        yield Backend(open=open_second, put=put, seal=_not_here, unseal=_not_here, restart=_not_here)
    finally:
        processes.stop("n2")
        processes.stop("n1")
        processes.sweep()


def _not_here() -> None:
    raise AssertionError("a pair of nodes is not sealed or restarted by these tests")


def _form_raft(first: str, second: str) -> str:
    def call(method: str, url: str, body: object = None, token: str = "") -> Any:
        answer = requests.request(method, url, json=body, headers={"X-Vault-Token": token}, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    made = call("PUT", f"{first}/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})
    key, token = made["keys_base64"][0], made["root_token"]
    call("PUT", f"{first}/v1/sys/unseal", {"key": key})
    wait_for(
        "the first node leading", lambda: requests.get(f"{first}/v1/sys/health", timeout=2).status_code == 200
    )
    call("PUT", f"{second}/v1/sys/storage/raft/join", {"leader_api_addr": first})

    def joined() -> bool:
        call("PUT", f"{second}/v1/sys/unseal", {"key": key})
        return requests.get(f"{second}/v1/sys/health", timeout=2).status_code == 429

    wait_for("the second node standing by", joined)
    call("POST", f"{first}/v1/sys/mounts/regcred", {"type": "kv", "options": {"version": "2"}}, token)
    wait_for(
        "the mount on the second node",
        lambda: requests.get(f"{second}/v1/regcred/config", headers={"X-Vault-Token": token}, timeout=2).ok,
    )
    return str(token)


SERVERS = ["openbao", *(["hashicorp"] if os.environ.get("VAULT_BIN") else [])]
"""HashiCorp Vault joins where VAULT_BIN names its binary."""


@pytest.fixture(params=["fake", "standby", *SERVERS])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each server in turn."""
    if request.param == "fake":
        return _fake()
    found = request.getfixturevalue(request.param)
    return found.backend() if isinstance(found, Real) else found


def _fake() -> Backend:
    fake = FakeKeyValue()
    return Backend(
        open=lambda: fake,
        put=fake.put,
        seal=lambda: setattr(fake, "sealed", True),
        unseal=lambda: setattr(fake, "sealed", False),
        restart=lambda: None,
    )


@pytest.fixture
def kv(backend: Backend) -> KeyValue:
    return backend.open()


@pytest.fixture
def folder() -> str:
    """A folder of the mount that no other test uses."""
    return f"credentials/test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["fake", *SERVERS])
def single(request: pytest.FixtureRequest) -> Backend:
    """Each server that a test may seal and restart."""
    if request.param == "fake":
        return _fake()
    found: Backend = request.getfixturevalue(request.param).backend()
    return found


@pytest.fixture(params=SERVERS)
def real(request: pytest.FixtureRequest) -> Real:
    """Each real server in turn, set up as declared."""
    server: Real = request.getfixturevalue(request.param)
    return server
