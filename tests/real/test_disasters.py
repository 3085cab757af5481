"""Rehearsals of docs/disasters.md on a real OpenBao. Each prints how long the recovery took.

Rotate and sync are real. The vendor and the clusters are in memory, so that a rehearsal takes seconds.
"""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from fakes.cloud import Clock, FakeAnnouncer, FakeIdentities, FakeProvider, FakeVerifier
from fakes.cluster import FakeCluster
from fakes.sync_world import deployment, namespace, options, password_in
from pydantic import SecretStr

from realparts.procs import Processes
from realparts.state import State
from realparts.vault import Vault
from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.registry_reference import Reference
from regcred.rotate import Rotate
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.sync import run_once
from regcred.vault.http import Server
from regcred.vault.kv2 import connect, signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform import default_directory, load
from regcred.vault.platform.declaration import with_policies
from regcred.vault.platform.fleet import FleetPlatform
from regcred.vault.records.index import State as RegistryState
from regcred.vault.store import Store

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

REGISTRIES = 10
CLUSTER_NAME = "c1"
FLEET = """
apiVersion: regcred.dev/v1
kind: Platform
metadata: {name: main}
---
apiVersion: regcred.dev/v1
kind: Project
metadata: {name: shop}
spec: {hosts: [registry.example.com], clusters: [c1]}
---
apiVersion: regcred.dev/v1
kind: Grant
metadata: {cluster: c1, name: shop}
spec: {namespaces: [shop]}
"""
REGISTRY = """
---
apiVersion: regcred.dev/v1
kind: Registry
metadata: {{project: shop, name: r-{number}}}
spec: {{provider: basic, hosts: [registry.example.com]}}
secretFrom: {{file: .secret.yaml}}
"""


class Estate:
    """One Vault, its functions and a cluster. The declaration is in a folder, in place of Git."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture
        self.processes = Processes(folder / "servers")
        self.state = State(folder / "servers")
        self.clock = Clock()
        self.cluster = FakeCluster()
        self.git = folder / "git"
        self.git.mkdir()
        (self.git / ".secret.yaml").write_text("username: robot\npassword: upstream\n")
        self.commit(REGISTRIES)
        self.vendor = FakeProvider()
        self.server = self.open("vault")

    def commit(self, registries: int) -> None:
        """Declare this number of registries."""
        text = FLEET + "".join(REGISTRY.format(number=number) for number in range(registries))
        (self.git / "fleet.yaml").write_text(text)

    def open(self, name: str) -> Vault:
        """Start an empty server, and use it."""
        server = Vault(self.processes, self.state, name=name)
        server.up()
        self.use(server)
        return server

    def use(self, server: Vault) -> None:
        """Let everything use this server, as after a change of its address."""
        self.server = server
        login = TokenLogin(lambda: SecretStr(server.root_token))
        self.client = signed_in(Server(server.addr), login)
        self.store = Store(connect(Server(server.addr), login))
        self.functions = self.region()

    def region(self, vendor: FakeProvider | None = None) -> Rotate:
        """The functions of one region."""
        return Rotate(
            store=self.store,
            provider_for=lambda _name: vendor or self.vendor,
            identities=FakeIdentities(),
            verifier=FakeVerifier(),
            announcer=FakeAnnouncer(),
            now=self.clock,
        )

    def regcred(self, line: str, sleep: Callable[[float], None] = time.sleep) -> str:
        """Run the command line as a platform operator."""
        session = CliSession(
            open_store=lambda: self.store,
            open_operator=lambda declared, _folder: FleetPlatform(
                self.client,
                with_policies(declared, self.git) if declared else load(default_directory()),
            ),
            nudge=lambda _project: True,
            now=self.clock,
            sleep=sleep,
        )
        code = run(line.split(), session)
        shown = self.capture.readouterr()
        assert code == 0, shown.err
        return shown.out + shown.err

    def apply(self) -> None:
        """Apply the declaration."""
        self.regcred(f"apply -f {self.git} --owner git --prune --yes")

    def rotate(self, reason: RotationReason = RotationReason.REQUESTED) -> None:
        """Run rotate for all registries, with messages like those of dispatch."""
        names = self.store.registries("shop")
        for at in range(0, len(names), 20):
            message = RotationMessage(project="shop", registries=dict.fromkeys(names[at : at + 20], reason))
            self.functions.run(message, owner="region-1").check()

    def sync(self) -> None:
        """Run sync once."""
        asyncio.run(self._sync())

    async def _sync(self) -> None:
        await run_once(self.cluster, self.store, options(), clock=self.clock)

    def workloads(self) -> None:
        """Create a namespace in the current cluster, with a workload that names all registries."""
        references = [f"shop/r-{number}" for number in range(REGISTRIES)]
        asyncio.run(self.cluster.create(namespace("shop")))
        asyncio.run(self.cluster.create(deployment("shop", "web", *references)))

    def passwords(self) -> list[str | None]:
        """The password in each Secret of the namespace."""
        names = [Reference("shop", f"r-{number}").secret_name for number in range(REGISTRIES)]
        return [password_in(asyncio.run(self.cluster.secret("shop", name))) for name in names]

    def in_force(self) -> list[str]:
        """The password of each credential in Vault."""
        found = [self.store.credential(Reference("shop", f"r-{number}")) for number in range(REGISTRIES)]
        return [one.value.password.get_secret_value() if one else "" for one in found]

    def set_up_and_run(self) -> None:
        """Declare and rotate all registries, and place their Secrets."""
        self.apply()
        self.rotate()
        self.workloads()
        self.sync()
        assert self.passwords() == self.in_force()

    @contextmanager
    def rehearsal(self, what: str) -> Iterator[None]:
        """Print how long the recovery took."""
        began = time.monotonic()
        yield
        with self.capture.disabled():
            print(f"\nrehearsal: {what}: {time.monotonic() - began:.1f} s")

    def down(self) -> None:
        """Stop all servers."""
        self.processes.sweep()


@pytest.fixture
def estate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Estate]:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    found = Estate(tmp_path, capsys)
    yield found
    found.down()


def backup(estate: Estate) -> bytes:
    answer = requests.get(
        f"{estate.server.addr}/v1/sys/storage/raft/snapshot",
        headers={"X-Vault-Token": estate.server.root_token},
        timeout=60,
    )
    answer.raise_for_status()
    return answer.content


def restored(estate: Estate, snapshot: bytes) -> None:
    """Restore a backup into a new server, which then needs the unseal key of the old one."""
    old = dict(estate.state.part("vault"))
    estate.server.down()
    server = Vault(estate.processes, estate.state)
    server.up()
    answer = requests.post(
        f"{server.addr}/v1/sys/storage/raft/snapshot-force",
        headers={"X-Vault-Token": server.root_token},
        data=snapshot,
        timeout=60,
    )
    answer.raise_for_status()
    estate.state.update("vault", root_token=old["root_token"], unseal_key=old["unseal_key"])
    server.unseal()
    estate.use(server)


def test_vault_is_restored_from_yesterdays_backup(estate: Estate) -> None:
    estate.set_up_and_run()
    yesterday = backup(estate)
    estate.clock.tick(hours=24)
    estate.commit(REGISTRIES + 1)
    estate.apply()
    for _ in range(2):
        estate.rotate()
        estate.sync()
    today = estate.in_force()

    with estate.rehearsal(f"Vault restored from a backup of yesterday, {REGISTRIES + 1} registries"):
        restored(estate, yesterday)
        # Sync does not replace a newer credential with the older one in the backup.
        estate.sync()
        assert estate.passwords() == today
        estate.apply()
        estate.rotate()
        estate.sync()
    assert estate.passwords() == estate.in_force()
    assert not set(estate.in_force()) & set(today)
    assert len(estate.store.registries("shop")) == REGISTRIES + 1


def test_vault_is_lost_and_built_again_from_git(estate: Estate) -> None:
    estate.set_up_and_run()
    before = estate.passwords()
    estate.server.down()

    with estate.rehearsal(f"a new Vault from Git, {REGISTRIES} registries"):
        estate.open("again")
        estate.apply()
        # Nothing is rotated yet and the ledger is empty, so the Secrets stay as they are.
        estate.sync()
        assert estate.passwords() == before
        estate.rotate()
        estate.sync()
    assert estate.passwords() == estate.in_force()
    assert not set(estate.in_force()) & set(before)


def test_a_leak_ends_in_every_namespace(estate: Estate) -> None:
    estate.set_up_and_run()

    def everything(_seconds: float) -> None:
        estate.clock.tick(seconds=2)
        estate.rotate(RotationReason.REVOKE)
        estate.sync()

    with estate.rehearsal(f"a project of {REGISTRIES} registries revoked everywhere"):
        shown = estate.regcred("revoke shop --yes", sleep=everything)
    assert f"{REGISTRIES} of {REGISTRIES} registries revoked" in shown
    assert estate.passwords() == [None] * REGISTRIES
    assert len(set(estate.vendor.revocations)) == REGISTRIES


def test_a_cluster_is_lost_and_built_again(estate: Estate) -> None:
    estate.set_up_and_run()

    with estate.rehearsal("a new cluster under the old name"):
        estate.cluster = FakeCluster()
        for name in ("default", "kube-system"):  # so that the uids of the namespaces differ from those before
            asyncio.run(estate.cluster.create(namespace(name)))
        estate.workloads()
        assert estate.passwords() == [None] * REGISTRIES
        estate.sync()
    assert estate.passwords() == estate.in_force()


def test_two_regions_on_one_vault_mint_each_credential_once(estate: Estate) -> None:
    estate.set_up_and_run()
    minted = len(estate.vendor.contexts)
    names = estate.store.registries("shop")
    message = RotationMessage(project="shop", registries=dict.fromkeys(names, RotationReason.REQUESTED))
    regions = [estate.region(), estate.region()]
    ready = threading.Barrier(2)

    def rotate(number: int) -> None:
        ready.wait()
        regions[number].run(message, owner=f"region-{number}")

    estate.clock.tick(hours=7)
    message = RotationMessage(project="shop", registries=dict.fromkeys(names, RotationReason.DUE))
    with estate.rehearsal("both regions rotate the same registries at once"):
        threads = [threading.Thread(target=rotate, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(estate.vendor.contexts) - minted == REGISTRIES
    entries = estate.store.index("shop")
    assert entries
    assert {entry.state for entry in entries.value.registries.values()} == {RegistryState.OK}


class KilledError(BaseException):
    """The region is lost in the middle of a request."""


def test_a_region_is_lost_in_the_middle_of_a_rotation(estate: Estate) -> None:
    estate.set_up_and_run()
    estate.clock.tick(hours=7)
    names = estate.store.registries("shop")
    message = RotationMessage(project="shop", registries=dict.fromkeys(names, RotationReason.DUE))
    lost = FakeProvider()

    def die() -> None:
        raise KilledError

    lost.meanwhile = die
    with pytest.raises(KilledError):
        estate.region(lost).run(message, owner="region-0")
    before = estate.in_force()

    with estate.rehearsal("the other region goes on after the claims of a lost one have ended"):
        estate.clock.time += timedelta(hours=1)
        estate.rotate(RotationReason.DUE)
        estate.sync()
    assert not set(estate.in_force()) & set(before)
    assert estate.passwords() == estate.in_force()
