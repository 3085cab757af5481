"""Two nodes of a server: the answers of a standby, and a step-down or a seal during rotate and sync."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes.cluster import FakeCluster
from fakes.rotate_world import PROD, World
from fakes.sync_world import Mount, deployment, namespace, options, password_in
from pydantic import SecretStr

from realparts.vault_pair import VaultPair
from regcred.errors import ConflictError, RegcredError, TransientError
from regcred.rotation_message import RotationReason
from regcred.sync import Report, run_once
from regcred.vault.http import Server
from regcred.vault.interface import KeyValue
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin

SECRET = "regcred.payments.prod"
PATIENCE = 30.0
"""How long the nodes may take to recover, in seconds."""


@pytest.fixture
def open_node(pair: VaultPair) -> Iterator[Callable[[int], KeyValue]]:
    """A client of node 0 or 1, on a mount of its own."""
    mount = f"m-{uuid.uuid4().hex[:8]}"
    pair.mount(mount)
    yield lambda node: connect(
        Server(pair.addrs[node]), TokenLogin(lambda: SecretStr(pair.token)), mount=mount
    )
    pair.call(pair.leader(), "DELETE", f"sys/mounts/{mount}")


def insist(act: Callable[[], object], *, until: float | None = None) -> None:
    """Repeat a call until it succeeds, as sweeps do."""
    until = until or time.monotonic() + PATIENCE
    while True:
        try:
            act()
        except (TransientError, ConflictError):
            assert time.monotonic() < until, "the nodes did not recover in time"
            time.sleep(0.2)
        else:
            return


def test_a_standby_never_answers_older_data_than_its_client_has_seen(
    pair: VaultPair, open_node: Callable[[int], KeyValue]
) -> None:
    kv = open_node(1 - pair.leader())
    for number in range(60):
        kv.write("credentials/p/r", {"n": str(number)}, cas=number)
        found = kv.read("credentials/p/r")
        assert found is not None
        assert (found.fields["n"], found.version) == (str(number), number + 1)
        assert kv.version("credentials/p/r") == number + 1


def test_check_and_set_loses_and_repeats_no_write_while_the_leader_changes(
    pair: VaultPair, open_node: Callable[[int], KeyValue]
) -> None:
    written: list[str] = []
    failed: list[str] = []
    lock = threading.Lock()

    def add(kv: KeyValue, name: str) -> None:
        found = kv.read("requests/p/r")
        held = found.fields["names"].split() if found else []
        if name not in held:  # a write whose answer was lost may have been made
            version = found.version if found else 0
            try:
                kv.write("requests/p/r", {"names": " ".join([*held, name])}, cas=version)
            except TransientError as error:
                failed.append(f"{type(error).__name__} {error}")
                raise

    def work(worker: int) -> None:
        kv = open_node(worker % 2)
        for number in range(6):
            name = f"{worker}-{number}"
            insist(lambda name=name: add(kv, name))
            with lock:
                written.append(name)

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(work, worker) for worker in range(4)]
        time.sleep(0.5)
        pair.step_down()
        for each in done:
            each.result()
    kv = open_node(pair.leader())
    found = kv.read("requests/p/r")
    assert found is not None
    assert sorted(found.fields["names"].split()) == sorted(written)
    assert found.version == len(written), "each write was made once"
    # The client itself repeats a request that the server did not process.
    assert not [text for text in failed if "status 500" in text or "NotSent" in text or "NoLeader" in text]


@pytest.mark.parametrize("fault", ["step-down", "seal"])
def test_a_fault_in_the_middle_of_rotate_and_sync_costs_no_credential(
    pair: VaultPair, open_node: Callable[[int], KeyValue], fault: str
) -> None:
    """The fault happens between the mint and the write to Vault. Sync runs before a new leader is elected."""
    kv = open_node(1 - pair.leader())
    world, cluster, mount = World(kv=kv), FakeCluster(), Mount(kv)
    asyncio.run(cluster.create(namespace("shop")))
    asyncio.run(cluster.create(deployment("shop", "web", str(PROD))))
    mount.grant({"payments": ["shop"]})
    world.run()
    first = world.password()

    def sync() -> Report:
        return asyncio.run(run_once(cluster, mount.store, options(), clock=world.clock))[1]

    assert not sync().failures
    world.clock.tick(hours=7)
    sealed: list[int] = []

    def strike() -> None:
        world.provider.meanwhile = lambda: None
        if fault == "seal":
            sealed.append(pair.seal_leader())
            sync()
        else:
            pair.step_down()

    world.provider.meanwhile = strike
    if fault == "seal":
        with pytest.raises(RegcredError):
            world.run(RotationReason.DUE)
        pair.unseal(sealed[0])

    def rotate_again() -> None:
        world.clock.tick(minutes=5)  # ends the claim of a run that was cut off
        world.run(RotationReason.DUE)

    insist(rotate_again)
    assert world.password() != first
    assert world.entry().version == world.store.credential_version(PROD), "the index names what is in force"
    assert len(world.provider.contexts) <= 3, "too many mints"
    until = time.monotonic() + PATIENCE
    while sync().failures:
        assert time.monotonic() < until, "sync did not recover in time"
    secret = asyncio.run(cluster.secret("shop", SECRET))
    assert password_in(secret) == world.password()
    assert not [call for call in cluster.calls if call[0] in {"remove", "delete"}]
