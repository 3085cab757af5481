"""The servers that the contract runs on: a fake, OpenBao, a standby of OpenBao, and HashiCorp Vault and its
standby if VAULT_BIN names its binary."""

from __future__ import annotations

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

from realparts.procs import Processes, wait_for
from realparts.state import State
from realparts.vault import Vault, bao, hashicorp_binary
from realparts.vault_pair import VaultPair
from regcred.vault.adapter import VaultAdapter
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


def short(seconds: float) -> None:
    """Sleep a tenth of the time, because a server on this machine recovers sooner than a remote one."""
    time.sleep(seconds / 10)


@dataclass
class Backend:
    """One server, and what a test can do to it without :class:`KeyValue`."""

    open: Callable[[], KeyValue]
    """Open another client."""
    put: Callable[[str, Mapping[str, object]], None]
    """Create a document with any fields, as another tool could."""
    seal: Callable[[], None]
    unseal: Callable[[], None]
    restart: Callable[[], None]


@dataclass
class Real:
    """A server on which the declaration in ``infra/vault`` is applied."""

    vault: Vault
    platform: Platform

    @property
    def server(self) -> Server:
        """How clients reach it."""
        return Server(self.addr, namespace=self.vault.namespace)

    @property
    def headers(self) -> dict[str, str]:
        """The headers for a request that is sent without a client of ours."""
        return {"X-Vault-Namespace": self.vault.namespace} if self.vault.namespace else {}

    @property
    def addr(self) -> str:
        return self.vault.addr

    def as_token(self, token: str) -> KeyValue:
        return connect(self.server, TokenLogin(lambda: SecretStr(token)), sleep=short)

    def client(self, token: str = "") -> hvac.Client:
        """A client with a token, or with the root token."""
        return signed_in(self.server, TokenLogin(lambda: SecretStr(token or self.vault.root_token)))

    def reset(self) -> None:
        """Apply the declaration and two projects, and delete everything else."""
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


class SentRequests(VaultAdapter):
    """Records the requests that it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        self.sent.append(request)
        return super().send(request, *args, **kwargs)


@dataclass(frozen=True)
class Keys:
    """The signing key of a cluster or of the cloud."""

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


def _real(directory: Path, binary: Path, keys: dict[str, Keys]) -> Iterator[Real]:
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
    """The declaration in ``infra/vault``, with two clusters and the Lambda functions."""
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
    yield from _real(tmp_path_factory.mktemp("openbao"), bao(), keys)


@pytest.fixture(scope="session")
def namespaced(openbao: Real, keys: dict[str, Keys]) -> Real:
    """A namespace below a namespace of OpenBao: a client in it sees nothing else."""
    for name in ("team", "team/eu"):
        parent, _, child = name.rpartition("/")
        openbao.vault.within(parent).call("POST", f"sys/namespaces/{child}", {})
    real = Real(openbao.vault.within("team/eu"), declared(keys))
    real.reset()
    return real


@pytest.fixture(scope="session")
def hashicorp(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Keys]) -> Iterator[Real]:
    yield from _real(tmp_path_factory.mktemp("hashicorp"), BINARIES["hashicorp"], keys)


def _pair(directory: Path, binary: Path) -> Iterator[VaultPair]:
    nodes = VaultPair(directory, binary)
    try:
        nodes.up()
        nodes.mount("regcred")
        yield nodes
    finally:
        nodes.down()


@pytest.fixture(scope="session")
def openbao_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultPair]:
    """Two nodes of OpenBao with raft storage."""
    yield from _pair(tmp_path_factory.mktemp("openbao-raft"), bao())


@pytest.fixture(scope="session")
def hashicorp_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultPair]:
    """Two nodes of HashiCorp Vault with raft storage."""
    yield from _pair(tmp_path_factory.mktemp("hashicorp-raft"), BINARIES["hashicorp"])


@pytest.fixture
def openbao_standby(openbao_pair: VaultPair) -> Backend:
    """The standby of OpenBao. It answers reads itself, with a short delay."""
    return _standby(openbao_pair)


@pytest.fixture
def hashicorp_standby(hashicorp_pair: VaultPair) -> Backend:
    """The standby of HashiCorp Vault. It forwards each request to the leader."""
    return _standby(hashicorp_pair)


def _standby(pair: VaultPair) -> Backend:
    leader = pair.leader()
    other = 1 - leader

    def open_standby() -> KeyValue:
        return connect(Server(pair.addrs[other]), TokenLogin(lambda: SecretStr(pair.token)))

    def put(path: str, fields: Mapping[str, object]) -> None:
        pair.call(leader, "POST", f"regcred/data/{path}", {"data": dict(fields)})
        wait_for("replication", lambda: pair.knows(other, f"regcred/data/{path}"))

    return Backend(open=open_standby, put=put, seal=_not_here, unseal=_not_here, restart=_not_here)


def _not_here() -> None:
    raise AssertionError("a pair of nodes is not sealed or restarted by these tests")


BINARIES = {"openbao": bao(), **({"hashicorp": named} if (named := hashicorp_binary()) else {})}
"""The servers' binaries. HashiCorp Vault's is there only if VAULT_BIN names it."""

SERVERS = [*BINARIES, "namespaced"]


@pytest.fixture(params=["fake", *(f"{name}_standby" for name in BINARIES), *SERVERS])
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


@pytest.fixture(params=BINARIES)
def pair(request: pytest.FixtureRequest) -> VaultPair:
    """Two nodes of each server in turn."""
    nodes: VaultPair = request.getfixturevalue(f"{request.param}_pair")
    return nodes


@pytest.fixture(params=BINARIES)
def binary(request: pytest.FixtureRequest) -> Path:
    """The binary of each server in turn."""
    return BINARIES[request.param]


@pytest.fixture(params=SERVERS)
def real(request: pytest.FixtureRequest) -> Real:
    """Each real server in turn, set up as declared."""
    server: Real = request.getfixturevalue(request.param)
    return server
