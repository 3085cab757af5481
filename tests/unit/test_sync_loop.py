"""The loop of *sync* over a cluster and a Vault in memory: watches, polls, and what it does when they break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from fakes.cluster import FakeCluster
from fakes.key_value import FakeKeyValue
from fakes.sync_world import Mount, deployment, namespace, options, password_in, pod, until

from regcred.cluster.interface import ExpiredError, SilentError
from regcred.cluster.model import Mode
from regcred.errors import RefusedError, TransientError
from regcred.sync import Engine, Loop, Pace
from regcred.sync.desk import utc_now
from regcred.sync.loop import GRANTS, documents_of
from regcred.vault.records.index import State

REF = "payments/ecr-prod"
NAME = "regcred.payments.ecr-prod"
QUICK = Pace(
    poll=timedelta(seconds=0.05),
    poll_soon=timedelta(seconds=0.05),
    review=timedelta(seconds=0.3),
    save=timedelta(seconds=0.02),
    first_lists=timedelta(seconds=0.2),
)


class World:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.kv = FakeKeyValue()
        self.mount = Mount(self.kv, utc_now)
        self.mode = Mode.NONE

    @asynccontextmanager
    async def running(self, pace: Pace = QUICK, **how) -> AsyncIterator[Loop]:
        changes = how.pop("changes", None)
        engine = Engine(self.cluster, self.mount.store, options(self.mode, **how))
        loop = Loop(engine, pace, changes=changes)
        task = asyncio.create_task(loop.run())
        try:
            yield loop
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_password(self, space: str, password: str | None = "s3cret-one") -> None:
        await until(lambda: password_in(self.cluster._secrets.get((space, NAME))) == password)

    def events(self) -> list[str]:
        return [message.reason for message in self.cluster.messages]


@pytest.fixture
async def world() -> World:
    world = World()
    await world.cluster.create(namespace("shop"))
    await world.cluster.create(deployment("shop", "web", REF))
    world.mount.grant({"payments": ["shop", "late"]})
    world.mount.mint(REF)
    return world


async def test_a_new_workload_gets_its_secret_from_the_watch(world: World) -> None:
    async with world.running(Pace()):
        await world.until_password("shop")
        await world.cluster.create(namespace("late"))
        await world.cluster.create(deployment("late", "web", REF))
        await world.until_password("late")


async def test_a_rotation_is_seen_by_the_poll(world: World) -> None:
    async with world.running():
        await world.until_password("shop")
        world.mount.mint(REF, "s3cret-two")
        await world.until_password("shop", "s3cret-two")


async def test_a_workload_that_goes_takes_its_secret_along(world: World) -> None:
    async with world.running():
        await world.until_password("shop")
        await world.cluster.remove("Deployment", "shop", "web")
        await world.until_password("shop", None)


async def test_at_rest_nothing_is_asked_of_the_cluster_and_vault_only_for_versions(world: World) -> None:
    async with world.running() as loop:
        await world.until_password("shop")
        await until(lambda: world.mount.placed(REF) == {1: {"shop"}})
        await until(lambda: loop.ready)
        world.cluster.calls.clear()
        world.kv.calls.clear()
        await asyncio.sleep(0.5)
        assert world.cluster.calls == []
        assert {operation for operation, _ in world.kv.calls} == {"version"}


async def test_a_restart_at_rest_writes_nothing(world: World) -> None:
    async with world.running():
        await world.until_password("shop")
    world.cluster.calls.clear()
    world.kv.calls.clear()
    async with world.running() as loop:
        await until(lambda: loop.ready)
        await asyncio.sleep(0.4)
    assert world.cluster.writes() == []
    assert "write" not in {operation for operation, _ in world.kv.calls}
    assert ("read", "credentials/payments/ecr-prod") not in world.kv.calls


async def test_the_ledger_is_written_when_the_process_is_asked_to_end(world: World) -> None:
    async with world.running(Pace(save=timedelta(hours=1))):
        await world.until_password("shop")
    assert world.mount.placed(REF) == {1: {"shop"}}


async def test_a_first_projection_overtakes_a_thousand_refreshes(world: World) -> None:
    names = [f"team-{n}" for n in range(300)]
    for name in names:
        await world.cluster.create(namespace(name))
        await world.cluster.create(deployment(name, "web", REF))
    world.mount.grant({"payments": ["shop", "late", *names]})
    order: list[str] = []
    world.cluster.on_apply = order.append
    async with world.running(concurrency=4):
        await until(lambda: len(order) == 301)
        order.clear()
        world.cluster.apply_seconds = 0.005
        world.mount.mint(REF, "s3cret-two")
        await until(lambda: len(order) > 20)
        await world.cluster.create(namespace("late"))
        await world.cluster.create(deployment("late", "web", REF))
        await until(lambda: "late" in order)
        assert order.index("late") < 100


async def test_vault_sealed_in_the_middle_keeps_what_is_there_and_catches_up(world: World) -> None:
    async with world.running() as loop:
        await world.until_password("shop")
        for operation in ("read", "version", "write"):
            world.kv.faults[operation, ""] = TransientError("sealed")
        await world.cluster.create(namespace("late"))
        await world.cluster.create(deployment("late", "web", REF))
        await world.until_password("late")  # its credential is known, and the ledger may follow later
        await asyncio.sleep(0.4)
        assert password_in(await world.cluster.secret("shop", NAME)) == "s3cret-one"
        assert loop.alive
        world.kv.faults.clear()
        world.mount.mint(REF, "s3cret-two")
        await world.until_password("late", "s3cret-two")
        await until(lambda: world.mount.placed(REF) == {2: {"shop", "late"}})


async def test_a_vault_that_cannot_be_read_at_the_start_is_waited_for(world: World) -> None:
    world.kv.faults["list", "status"] = TransientError("sealed")
    async with world.running() as loop:
        await asyncio.sleep(0.2)
        assert not loop.ready
        assert world.cluster.writes() == []
        world.kv.faults.clear()
        await world.until_password("shop")


@pytest.mark.parametrize("error", [ExpiredError("410"), SilentError("silent"), TransientError("gone away")])
async def test_a_watch_that_breaks_is_begun_again_without_a_loss(world: World, error: Exception) -> None:
    async with world.running():
        await world.until_password("shop")
        world.cluster.faults["watching", "Deployment"] = error
        world.cluster.faults["watch", "Deployment"] = error
        await world.cluster.create(namespace("late"))
        await world.cluster.create(deployment("late", "web", REF))
        await asyncio.sleep(0.1)
        world.cluster.faults.clear()
        await world.until_password("late")


async def test_a_kind_that_cannot_be_listed_removes_nothing(world: World) -> None:
    async with world.running():
        await world.until_password("shop")
    world.cluster.faults["list", "CronJob"] = RefusedError("cronjobs is forbidden")
    await world.cluster.remove("Deployment", "shop", "web")
    async with world.running() as loop:
        await asyncio.sleep(0.5)
        assert not loop.ready
        assert password_in(await world.cluster.secret("shop", NAME)) == "s3cret-one"
        world.cluster.faults.clear()
        await world.until_password("shop", None)


async def test_a_write_that_fails_is_tried_again_by_itself(world: World) -> None:
    world.cluster.faults["apply", "shop"] = TransientError("etcd is slow")
    async with world.running():
        await until(lambda: len([call for call in world.cluster.calls if call[0] == "apply"]) >= 3)
        world.cluster.faults.clear()
        await world.until_password("shop")


async def test_a_grant_and_a_revoke_act_by_the_next_poll(world: World) -> None:
    world.mount.grant({})
    async with world.running():
        await until(lambda: world.events() == ["NotGranted"])
        world.mount.grant({"payments": ["shop"]})
        await world.until_password("shop")
        world.mount.index(REF, state=State.REVOKED, version=1)
        await world.until_password("shop", None)
        await until(lambda: world.events() == ["NotGranted", "CredentialRevoked"])


async def test_a_vault_event_wakes_it_before_the_poll(world: World) -> None:
    news: asyncio.Queue[str] = asyncio.Queue()

    async def changes() -> AsyncIterator[str]:
        while True:
            yield await news.get()

    async with world.running(Pace(), changes=changes):
        await world.until_password("shop")
        world.mount.mint(REF, "s3cret-two")
        await asyncio.sleep(0.1)
        assert password_in(await world.cluster.secret("shop", NAME)) == "s3cret-one"
        news.put_nowait("regcred/data/credentials/payments/_index")
        await world.until_password("shop", "s3cret-two")


def test_which_document_a_changed_path_belongs_to() -> None:
    assert documents_of("regcred/data/credentials/payments/_index", "c1") == {"payments"}
    assert documents_of("regcred/data/platform/clusters/c1", "c1") == {GRANTS}
    assert documents_of("regcred/data/platform/clusters/c2", "c1") == set()
    assert documents_of("regcred/data/credentials/payments/ecr-prod", "c1") == set()


async def test_serviceaccount_mode_attaches_after_the_secret_is_there(world: World) -> None:
    world.mode = Mode.SERVICEACCOUNT
    async with world.running():
        await world.until_password("shop")
        await until(lambda: ("account", "shop", "default") in world.cluster.calls)
    assert await world.cluster.account_pull_secrets("shop", "default") == [NAME]


async def test_a_namespace_that_turns_to_serviceaccount_mode_is_followed(world: World) -> None:
    world.mode = Mode.ADMISSION
    async with world.running():
        await world.until_password("shop")
        await world.cluster.create(namespace("shop", labels={"regcred.dev/mode": "serviceaccount"}))
        await until(lambda: ("list", "ServiceAccount") in world.cluster.calls)
        await until(lambda: ("account", "shop", "default") in world.cluster.calls)


async def test_a_pod_created_before_its_secret_gets_it(world: World) -> None:
    await world.cluster.create(namespace("late"))
    async with world.running():
        await world.until_password("shop")
        await world.cluster.create(pod("late", "early", REF, pull_secrets=(NAME,)))
        await world.until_password("late")


async def test_all_that_is_in_place_is_written_again_now_and_then(world: World) -> None:
    pace = replace(QUICK, repair=timedelta(seconds=0.2), repair_step=timedelta(seconds=0.01))
    async with world.running(pace):
        await world.until_password("shop")
        await world.cluster.remove_secret("shop", NAME)
        await world.until_password("shop")
