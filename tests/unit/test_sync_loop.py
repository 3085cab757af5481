"""The loop of *sync* with a cluster and a Vault in memory: watches, polls and failures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fakes.cluster import KINDS, FakeCluster
from fakes.key_value import FakeKeyValue
from fakes.sync_world import Mount, deployment, namespace, options, password_in, pod, until

from regcred.clock import utc_now
from regcred.cluster.interface import (
    Change,
    DeniedError,
    ExpiredError,
    Listing,
    MissingSecretEvent,
    SilentError,
    ThrottledError,
)
from regcred.cluster.model import SERVICE_ACCOUNT, WORKLOADS, Kind, Mode, custom_kind
from regcred.errors import MissingError, RefusedError, TransientError
from regcred.sync import Engine, Loop, Pace, action_handlers, applier, retries, run_once
from regcred.sync.identity import WrongClusterError
from regcred.sync.vault_polls import GRANTS, documents_of
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Status
from regcred.wiring.sync.metrics import Metrics

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
        changes, meter = how.pop("changes", None), how.pop("meter", None)
        engine = Engine(self.cluster, self.mount.store, options(self.mode, **how), meter=meter)
        loop = Loop(engine, pace, changes=changes)
        task = asyncio.create_task(loop.run())
        try:
            yield loop
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_password(self, space: str, password: str | None = "s3cret-one") -> None:
        await until(lambda: password_in(self.cluster._secrets.get((space, NAME))) == password)

    def tries(self, refused: str) -> int:
        """How often sync has tried what is refused."""
        if refused == "not-read":
            return self.kv.calls.count(("read", f"credentials/{REF}"))
        return sum(call[0] == "apply" for call in self.cluster.calls)

    def events(self) -> list[str]:
        return [message.reason for message in self.cluster.messages]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat what failed soon."""
    monkeypatch.setattr(applier, "AGAIN", timedelta(seconds=0.05))


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


async def test_a_project_that_is_used_again_during_a_poll_keeps_its_registries(world: World) -> None:
    engine = Engine(world.cluster, world.mount.store, options(world.mode))
    sources, call = engine.sources, engine.vault
    answered = {"poll": asyncio.Event(), "again": asyncio.Event()}

    async def delayed(*what: Any) -> Any:
        answer = await call(*what)
        await answered[asyncio.current_task().get_name()].wait()
        return answer

    sources._vault = delayed
    poll = asyncio.create_task(sources.look_at("payments"), name="poll")
    await asyncio.sleep(0)
    sources.forget("payments")
    again = asyncio.create_task(sources.look_at("payments"), name="again")
    await asyncio.sleep(0)
    answered["poll"].set()
    await poll
    answered["again"].set()
    await again
    engine.vault.close()
    assert list(sources.projects["payments"].registries) == ["ecr-prod"]


async def test_a_poll_finds_a_rotation(world: World) -> None:
    async with world.running():
        await world.until_password("shop")
        world.mount.mint(REF, "s3cret-two")
        await world.until_password("shop", "s3cret-two")


async def test_the_secret_of_a_deleted_workload_is_removed(world: World) -> None:
    async with world.running():
        await world.until_password("shop")
        await world.cluster.remove("Deployment", "shop", "web")
        await world.until_password("shop", None)


async def test_a_removal_that_waits_for_a_pod_is_tried_again_when_the_pod_may_be_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(action_handlers, "CHECK_AGAIN", timedelta(seconds=0.1))
    async with world.running():
        await world.until_password("shop")
        await world.cluster.create(pod("shop", "old", pull_secrets=(NAME,)))
        await world.cluster.remove("Deployment", "shop", "web")
        await until(lambda: world.cluster.calls.count(("pods", "shop")) > 1)
        await world.until_password("shop")
        await world.cluster.remove("Pod", "shop", "old")
        await world.until_password("shop", None)


async def test_without_changes_sync_makes_no_calls_except_for_versions_in_vault(world: World) -> None:
    async with world.running() as loop:
        await world.until_password("shop")
        await until(lambda: world.mount.placed(REF) == {1: {"shop"}})
        await until(lambda: loop.ready)
        await until(lambda: ("events", "NotGranted") in world.cluster.calls)
        world.cluster.calls.clear()
        world.kv.calls.clear()
        await asyncio.sleep(0.25)
        assert world.cluster.calls == []
        assert {operation for operation, _ in world.kv.calls} == {"version"}


async def test_a_restart_without_changes_writes_nothing(world: World) -> None:
    async with world.running():
        await world.until_password("shop")
    world.cluster.calls.clear()
    world.kv.calls.clear()
    async with world.running() as loop:
        await until(lambda: loop.ready)
        await asyncio.sleep(0.25)
    assert world.cluster.writes() == []
    assert "write" not in {operation for operation, _ in world.kv.calls}
    assert ("read", "credentials/payments/ecr-prod") not in world.kv.calls


async def test_the_ledger_is_written_at_shutdown(world: World) -> None:
    async with world.running(Pace(save=timedelta(hours=1))):
        await world.until_password("shop")
    assert world.mount.placed(REF) == {1: {"shop"}}


@pytest.mark.no_cover
async def test_a_new_secret_overtakes_hundreds_of_refreshes(world: World) -> None:
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
        before = len(order)
        await until(lambda: "late" in order)
        assert order.index("late") < before + 60, "fewer than 60 refreshes may come first"


async def test_during_an_outage_of_vault_secrets_stay_and_afterwards_they_are_updated(world: World) -> None:
    async with world.running() as loop:
        await world.until_password("shop")
        for operation in ("read", "version", "write"):
            world.kv.faults[operation, ""] = TransientError("sealed")
        await world.cluster.create(namespace("late"))
        await world.cluster.create(deployment("late", "web", REF))
        await world.until_password("late")  # its credential is known, and the ledger may follow later
        await asyncio.sleep(0.25)
        assert password_in(await world.cluster.secret("shop", NAME)) == "s3cret-one"
        assert loop.alive
        world.kv.faults.clear()
        world.mount.mint(REF, "s3cret-two")
        await world.until_password("late", "s3cret-two")
        await until(lambda: world.mount.placed(REF) == {2: {"shop", "late"}})


async def test_at_the_start_sync_waits_for_vault(world: World) -> None:
    world.kv.faults["list", "status"] = TransientError("sealed")
    async with world.running() as loop:
        await asyncio.sleep(0.2)
        assert not loop.ready
        assert world.cluster.writes() == []
        world.kv.faults.clear()
        await world.until_password("shop")


@pytest.mark.parametrize("error", [ExpiredError("410"), SilentError("silent"), TransientError("gone away")])
async def test_a_broken_watch_starts_again_without_losing_a_change(world: World, error: Exception) -> None:
    async with world.running():
        await world.until_password("shop")
        world.cluster.faults["watching", "Deployment"] = error
        world.cluster.faults["watch", "Deployment"] = error
        await world.cluster.create(namespace("late"))
        await world.cluster.create(deployment("late", "web", REF))
        await asyncio.sleep(0.1)
        world.cluster.faults.clear()
        await world.until_password("late")


async def test_while_a_kind_cannot_be_listed_nothing_is_removed(world: World) -> None:
    async with world.running():
        await world.until_password("shop")
    world.cluster.faults["list", "CronJob"] = RefusedError("cronjobs is forbidden")
    await world.cluster.remove("Deployment", "shop", "web")
    async with world.running() as loop:
        await asyncio.sleep(0.25)
        assert not loop.ready
        assert password_in(await world.cluster.secret("shop", NAME)) == "s3cret-one"
        world.cluster.faults.clear()
        await world.until_password("shop", None)


async def test_a_failed_write_is_tried_again(world: World) -> None:
    world.cluster.faults["apply", "shop"] = TransientError("etcd is slow")
    async with world.running():
        await until(lambda: len([call for call in world.cluster.calls if call[0] == "apply"]) >= 3)
        world.cluster.faults.clear()
        await world.until_password("shop")


async def test_a_grant_and_a_revocation_take_effect_at_the_next_poll(world: World) -> None:
    world.mount.grant({})
    async with world.running():
        await until(lambda: world.events() == ["NotGranted"])
        world.mount.grant({"payments": ["shop"]})
        await world.until_password("shop")
        world.mount.index(REF, state=State.REVOKED, version=1)
        await world.until_password("shop", None)
        await until(lambda: world.events() == ["NotGranted", "CredentialPlaced", "CredentialRevoked"])


async def test_a_denied_secret_is_placed_soon_after_the_cause_is_fixed(world: World) -> None:
    world.cluster.faults[("apply",)] = DeniedError("denied", words="exceeded quota")
    async with world.running():
        await until(lambda: world.events() == ["NotWritten"])
        world.cluster.faults.clear()
        await world.until_password("shop")
        await until(lambda: world.events() == ["NotWritten", "CredentialPlaced"])


class Refuser:
    """Lets a server refuse one kind of request of sync, with a text."""

    def __init__(self, world: World, what: str) -> None:
        self.world, self.what = world, what

    def refuse(self, text: str) -> None:
        world = self.world
        match self.what:
            case "the Secret":
                world.cluster.faults[("apply",)] = DeniedError("denied", words=text)
            case "the removal":
                world.cluster.faults[("delete",)] = DeniedError("denied", words=text)
            case "the ServiceAccount":
                world.cluster.faults[("account",)] = DeniedError("denied", words=text)
            case "the credential":
                world.kv.faults["read", f"credentials/{REF}"] = RefusedError(text)
            case "the registry":
                world.mount.index(REF, state=State.FAILING, version=0, error=text)

    def texts(self, *all_texts: str) -> list[str]:
        """Those of the texts that Events contain, in the order of the Events."""
        notes = [message.note for message in self.world.cluster.messages]
        return [text for note in notes for text in all_texts if text in note]


REFUSED = ["the Secret", "the removal", "the ServiceAccount", "the credential", "the registry"]


@pytest.fixture(params=REFUSED)
async def refuser(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> Refuser:
    """A sync whose write, removal or read can be refused. It retries after a short time."""
    monkeypatch.setattr(retries, "SHORTEST", timedelta(seconds=0.02))
    monkeypatch.setattr(retries, "LONGEST", timedelta(seconds=0.02))
    refuser = Refuser(world, request.param)
    if refuser.what == "the ServiceAccount":
        world.mode = Mode.SERVICEACCOUNT
    if refuser.what == "the removal":
        world.mode = Mode.NONE
        async with world.running():
            await world.until_password("shop")
        world.mount.index(REF, state=State.REVOKED, version=1)
    return refuser


async def test_each_cause_of_a_refusal_gets_one_event(world: World, refuser: Refuser) -> None:
    texts = ["exceeded quota: few", "every Secret needs the label team"]
    refuser.refuse(texts[0])
    async with world.running():
        await until(lambda: refuser.texts(*texts) == texts[:1])
        refuser.refuse(texts[1])
        await until(lambda: refuser.texts(*texts) == texts)


async def test_a_name_that_is_denied_again_after_a_success_gets_its_event_again(world: World) -> None:
    world.mode = Mode.SERVICEACCOUNT
    account = {"kind": "ServiceAccount", "metadata": {"namespace": "shop", "name": "default"}}
    denied, expected = DeniedError("denied", words="hands off robots"), []
    async with world.running():
        await world.until_password("shop")
        for _ in range(2):
            world.cluster.faults[("account",)] = denied
            await world.cluster.create({**account, "imagePullSecrets": []})
            expected.append("NotAttached")
            await until(lambda: world.events() == expected)
            world.cluster.faults.clear()
            expected.append("CredentialPlaced")
            await until(lambda: world.events() == expected)


@pytest.mark.parametrize("refused", ["not-written", "not-read", "clash"])
async def test_the_status_contains_the_reason_while_sync_tries_again(
    world: World, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "SHORTEST", timedelta(seconds=0.05))
    monkeypatch.setattr(retries, "LONGEST", timedelta(seconds=0.05))
    match refused:
        case "not-written":
            world.cluster.faults[("apply",)] = DeniedError("denied", words="exceeded quota")
        case "not-read":
            world.kv.faults["read", f"credentials/{REF}"] = RefusedError("permission denied")
        case "clash":
            await world.cluster.create_secret("shop", NAME)
    seen: list[dict[str, str]] = []
    write = world.mount.store.write_status

    def watched(cluster: str, project: str, status: Status, **how: Any) -> Any:
        seen.append(status.registries["ecr-prod"].refused if "ecr-prod" in status.registries else {})
        return write(cluster, project, status, **how)

    world.mount.store.write_status = watched
    async with world.running():
        await until(lambda: {"shop": refused} in seen)
        first = seen.index({"shop": refused})
        tries = world.tries(refused)
        await until(lambda: world.tries(refused) >= tries + 4)
    assert seen[first:] == [{"shop": refused}] * len(seen[first:])


async def test_throttling_by_the_api_server_delays_all_requests(world: World) -> None:
    times: list[float] = []
    async with world.running():
        await world.until_password("shop")
        world.cluster.on_apply = lambda _: times.append(time.monotonic())
        world.cluster.faults[("apply",)] = ThrottledError("busy", retry_after=timedelta(seconds=1))
        world.mount.mint(REF, "s3cret-two")
        await until(lambda: len([call for call in world.cluster.calls if call[0] == "apply"]) >= 2)
        world.cluster.faults.clear()
        started = time.monotonic()
        await world.cluster.create(namespace("late"))
        await world.cluster.create(deployment("late", "web", REF))
        await world.until_password("late", "s3cret-two")
        assert time.monotonic() - started > 0.5, "other namespaces wait as well"


@pytest.mark.parametrize("call", [("list", "CronJob"), ("watch", "CronJob"), ("missing_secret_events",)])
@pytest.mark.parametrize("error", [ThrottledError, TransientError])
async def test_a_list_or_watch_waits_for_the_time_of_retry_after(
    world: World, call: tuple[str, ...], error: type[TransientError]
) -> None:
    """An overloaded server sends it (429), and one that can't serve only this request now (503)."""
    world.cluster.faults[call] = error("later", retry_after=timedelta(seconds=0.8))
    async with world.running():
        await until(lambda: call in world.cluster.calls)
        started = time.monotonic()
        await asyncio.sleep(0.5)
        assert world.cluster.calls.count(call) == 1
        del world.cluster.faults[call]
        await until(lambda: world.cluster.calls.count(call) == 2)
        assert time.monotonic() - started > 0.7
        await world.until_password("shop")


async def test_no_watch_starts_while_the_api_server_throttles(world: World) -> None:
    async with world.running() as loop:
        await until(lambda: loop.ready)
        await world.until_password("shop")
        world.cluster.faults[("apply",)] = ThrottledError("busy", retry_after=timedelta(seconds=0.8))
        world.mount.mint(REF, "s3cret-two")
        await until(lambda: world.cluster.calls.count(("apply", "shop", NAME)) == 2)
        world.cluster.faults = {("watching",): TransientError("broken")}
        world.cluster.calls.clear()
        await world.cluster.create(namespace("late"))
        await asyncio.sleep(0.4)
        assert [found for found in world.cluster.calls if found[0] == "watch"] == []
        world.cluster.faults.clear()
        await world.cluster.create(deployment("late", "web", REF))
        await world.until_password("late", "s3cret-two")


async def test_a_deleted_secret_is_restored_if_a_pod_misses_it(world: World) -> None:
    async with world.running():
        await world.until_password("shop")
        await world.cluster.remove_secret("shop", NAME)
        note = (
            f"Unable to retrieve some image pull secrets ({NAME}); attempting to pull the image may not "
            "succeed."
        )
        await world.cluster.missed.put(MissingSecretEvent("shop", note))
        await world.until_password("shop")


async def test_a_deleted_secret_is_restored_if_a_new_workload_needs_it(world: World) -> None:
    async with world.running():
        await world.until_password("shop")
        await world.cluster.remove_secret("shop", NAME)
        await world.cluster.create(deployment("shop", "second", REF))
        await world.until_password("shop")


async def test_a_deleted_secret_is_restored_after_a_request_to_rotate_or_verify(
    world: World,
) -> None:
    """A static credential is the same afterwards: only the time of the request in the index changes."""
    name = REF.rpartition("/")[2]
    async with world.running():
        await world.until_password("shop")
        entry = world.mount.store.index("payments").value.registries[name].model_dump()
        for minutes in (2, 1):
            await world.cluster.remove_secret("shop", NAME)
            world.mount.index(REF, **{**entry, "requested_at": utc_now() - timedelta(minutes=minutes)})
            await world.until_password("shop")
        world.cluster.calls.clear()
        world.mount.index(REF, **{**entry, "warning": "another"})
        await asyncio.sleep(0.1)
        assert [call for call in world.cluster.calls if call[0] == "apply"] == []


async def test_forged_events_cause_a_limited_number_of_writes_to_granted_namespaces(world: World) -> None:
    metrics = Metrics()
    async with world.running(meter=metrics):
        await world.until_password("shop")
        world.cluster.calls.clear()
        for number in range(500):
            await world.cluster.missed.put(
                MissingSecretEvent("shop", f"({NAME}, regcred.payments.made-up-{number})")
            )
            await world.cluster.missed.put(MissingSecretEvent(f"nowhere-{number}", f"({NAME})"))
        await until(world.cluster.missed.empty)
        await asyncio.sleep(0.05)
    assert [call for call in world.cluster.calls if call[0] == "apply"] == [("apply", "shop", NAME)]


async def test_without_permission_to_watch_events_sync_works(world: World) -> None:
    world.cluster.faults[("missing_secret_events",)] = RefusedError("events is forbidden")
    async with world.running():
        await world.until_password("shop")
    assert world.cluster.calls.count(("missing_secret_events",)) == 1


async def test_another_cluster_with_the_same_name_stops_before_it_writes(world: World) -> None:
    async with world.running():
        await world.until_password("shop")
    other = World()
    other.kv, other.mount = world.kv, world.mount
    other.cluster.cluster_uid = "another"
    await other.cluster.create(namespace("first"))  # so that the uids of its namespaces are others
    await other.cluster.create(namespace("shop"))
    await other.cluster.create(deployment("shop", "web", REF, "payments/unknown"))
    placed = world.mount.placed(REF)
    with pytest.raises(WrongClusterError, match="regcred cluster reset c1"):
        await Loop(Engine(other.cluster, world.mount.store, options()), QUICK).run()
    for how in ({}, {"dry_run": True}):
        with pytest.raises(WrongClusterError):
            await run_once(other.cluster, world.mount.store, options(), **how)
    assert other.cluster.writes() == []
    assert world.mount.placed(REF) == placed == {1: {"shop"}}
    world.mount.store.forget_identity("c1")
    await run_once(other.cluster, world.mount.store, options())
    assert await other.cluster.secret("shop", NAME)


async def test_a_cluster_without_a_grants_document_gets_no_events_and_is_not_pinned(world: World) -> None:
    world.kv.delete("platform/clusters/c1")
    await world.cluster.create(deployment("shop", "wrong", "Not/AReference"))
    metrics = Metrics()
    async with world.running(meter=metrics):
        await until(
            lambda: (
                'regcred_vault_document_known{document="platform/clusters/c1"} 0.0' in metrics.text().decode()
            )
        )
        await asyncio.sleep(0.5)
        assert world.cluster.writes() == []
        assert world.mount.store.identity("c1") is None
        world.mount.grant({"payments": ["shop"]})
        await world.until_password("shop")
    assert world.mount.store.identity("c1").value.uid == "c1-uid"


async def test_a_grant_and_a_revocation_do_not_wait_for_a_slow_poll(world: World) -> None:
    ended = IndexEntry(state=State.REVOKED, version=1, changed_at=utc_now())
    world.mount.grant({})
    async with world.running(replace(QUICK, poll=timedelta(hours=1))):
        await until(lambda: world.events() == ["NotGranted"])
        world.mount.grant({"payments": ["shop"]})
        await world.until_password("shop")
        world.mount.store.merge_index("elsewhere", {"ecr-prod": ended})
        await asyncio.sleep(0.2)
        assert password_in(await world.cluster.secret("shop", NAME)) == "s3cret-one"
        world.mount.store.merge_index("payments", {"ecr-prod": ended})
        await world.until_password("shop", None)
        reads = [call for call in world.kv.calls if "elsewhere" in call[1] and call[0] != "write"]
        assert all("elsewhere" not in project for project in world.mount.store.signal().value.ended)
        assert len([call for call in reads if call[0] == "version"]) <= 1, (
            "only the check of the version by rotate"
        )


async def test_an_event_of_vault_starts_a_poll_at_once(world: World) -> None:
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


def test_a_changed_path_names_the_document_to_read() -> None:
    assert documents_of("regcred/data/credentials/payments/_index", "c1") == {"payments"}
    assert documents_of("regcred/data/platform/clusters/c1", "c1") == {GRANTS}
    assert documents_of("regcred/data/platform/clusters/c2", "c1") == set()
    assert documents_of("regcred/data/credentials/payments/ecr-prod", "c1") == set()


async def test_serviceaccount_mode_attaches_the_name_and_places_the_secret(world: World) -> None:
    world.mode = Mode.SERVICEACCOUNT
    async with world.running():
        await world.until_password("shop")
        await until(lambda: ("account", "shop", "default") in world.cluster.calls)
    assert await world.cluster.account_pull_secrets("shop", "default") == [NAME]


async def test_the_name_is_attached_before_anything_is_written_to_vault_or_read_from_it(world: World) -> None:
    """A controller creates the first Pod meanwhile, and a Pod never gets a name that is attached later."""
    world.mode = Mode.SERVICEACCOUNT
    async with world.running(Pace()):
        await world.cluster.create(namespace("late"))
        await until(lambda: world.mount.placed(REF) == {1: {"shop"}})
        calls_before: list[list[tuple[str, str]]] = []
        change = world.cluster.set_pull_secrets

        async def changed(*args: Any, **kwargs: Any) -> bool:
            await asyncio.sleep(0.05)  # the API server's answer
            calls_before.append([call for call in world.kv.calls if "status/" in call[1] or REF in call[1]])
            return await change(*args, **kwargs)

        world.cluster.set_pull_secrets = changed
        world.kv.calls.clear()
        await world.cluster.create(deployment("late", "web", REF))
        await world.until_password("late")
    assert calls_before[0] == []


async def test_a_new_workload_gets_its_name_while_vault_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regcred.sync.execution.WRITE_AHEAD", 600)
    world.mode = Mode.SERVICEACCOUNT
    await world.cluster.create(namespace("late"))
    world.mount.mint("payments/second")
    waits, go_on = threading.Event(), threading.Event()

    def hang(operation: str) -> None:
        if operation == "write":
            waits.set()
            go_on.wait(60)

    async with world.running(Pace()):
        await until(lambda: world.mount.placed(REF) == {1: {"shop"}})
        world.kv.wait = hang
        await world.cluster.create(deployment("shop", "other", "payments/second"))
        await until(waits.is_set)
        await world.cluster.create(deployment("late", "web", REF))
        try:
            await until(lambda: ("account", "late", "default") in world.cluster.calls, seconds=20)
            assert "late" not in {call[1] for call in world.cluster.calls if call[0] == "apply"}
        finally:
            go_on.set()
        await world.until_password("late")


async def test_a_namespace_can_change_to_serviceaccount_mode(world: World) -> None:
    world.mode = Mode.ADMISSION
    async with world.running():
        await world.until_password("shop")
        await world.cluster.create(namespace("shop", labels={"regcred.dev/mode": "serviceaccount"}))
        await until(lambda: ("list", "ServiceAccount") in world.cluster.calls)
        await until(lambda: ("account", "shop", "default") in world.cluster.calls)


async def test_a_pod_that_is_older_than_its_secret_gets_it(world: World) -> None:
    await world.cluster.create(namespace("late"))
    async with world.running():
        await world.until_password("shop")
        await world.cluster.create(pod("late", "early", REF, pull_secrets=(NAME,)))
        await world.until_password("late")


async def test_each_placed_secret_is_written_again_periodically(world: World) -> None:
    pace = replace(QUICK, repair=timedelta(seconds=0.2), repair_step=timedelta(seconds=0.01))
    async with world.running(pace):
        await world.until_password("shop")
        await world.cluster.remove_secret("shop", NAME)
        await world.until_password("shop")


async def test_a_denied_serviceaccount_is_not_tried_all_the_time(world: World) -> None:
    world.mode = Mode.SERVICEACCOUNT
    world.cluster.faults["account", "shop"] = RefusedError("denied by a policy")
    async with world.running():
        await world.until_password("shop")
        await asyncio.sleep(0.25)
        assert world.cluster.calls.count(("account", "shop", "default")) <= 2
        world.cluster.faults.clear()
        await until(
            lambda: world.cluster._objects["ServiceAccount", "shop", "default"].get("imagePullSecrets")
        )


async def test_a_watch_that_ends_at_once_is_not_restarted_all_the_time(world: World) -> None:
    """As behind a proxy that still answers when the API server does not."""

    async def ended(kind: Kind, resource_version: str, *, labelled: bool) -> AsyncIterator[Change]:
        world.cluster.calls.append(("watch", kind.name))
        for change in ():
            yield change

    world.cluster.watch = ended
    async with world.running():
        await world.until_password("shop")
        await asyncio.sleep(0.25)
        assert world.cluster.calls.count(("watch", "CronJob")) <= 4


async def test_a_refusal_that_returns_gets_another_event(world: World) -> None:
    world.mount.grant({"payments": ["late"]})
    async with world.running():
        await until(lambda: world.events() == ["NotGranted"])
    async with world.running():
        world.mount.grant({"payments": ["late", "shop"]})
        await world.until_password("shop")
        world.cluster.calls.clear()
        world.mount.grant({"payments": ["late"]})
        await world.until_password("shop", None)
        await until(lambda: ("tell", "shop", "NotGranted") in world.cluster.calls)


@asynccontextmanager
async def ten_held(world: World) -> AsyncIterator[tuple[list[str], Metrics]]:
    """Run a loop that holds the removals of ten namespaces; return their names and its metrics."""
    names = [f"team-{n}" for n in range(10)]
    for name in names:
        await world.cluster.create(namespace(name))
        await world.cluster.create(deployment(name, "web", REF))
    world.mount.grant({"payments": names})
    metrics = Metrics()
    async with world.running(meter=metrics):
        await until(lambda: world.mount.placed(REF) == {1: set(names)})
        for name in names:
            await world.cluster.create(deployment(name, "web"))
        await until(lambda: "regcred_removals_held 10.0" in metrics.text().decode())
        yield names, metrics


async def test_the_loop_notices_removals_by_another_run(world: World) -> None:
    async with ten_held(world) as (names, metrics):
        confirmed = options(world.mode, removals_confirmed=True)
        _, report = await run_once(world.cluster, world.mount.store, confirmed)
        assert report.removed == 10
        await until(lambda: "regcred_removals_held 0.0" in metrics.text().decode())
        await until(lambda: world.mount.placed(REF) == {})
        for name in names:
            await world.cluster.create(deployment(name, "web", REF))
        for name in names:
            await world.until_password(name)


async def test_the_loop_makes_removals_that_an_admin_confirms_in_vault(world: World) -> None:
    async with ten_held(world) as (_, metrics):
        world.mount.store.change_cluster(
            world.mount.cluster, lambda old: old.confirming({"payments": 10}, utc_now())
        )
        await until(lambda: world.mount.placed(REF) == {})
        await until(lambda: "regcred_removals_held 0.0" in metrics.text().decode())


async def test_pending_events_do_not_prevent_the_write_of_the_ledger_at_shutdown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regcred.sync.loop.SHUTDOWN", 0.2)

    async def hanging(_: object) -> None:
        await asyncio.Event().wait()

    world.cluster.create_event = hanging
    await world.cluster.create(namespace("other"))
    await world.cluster.create(deployment("other", "web", REF))
    async with world.running(Pace(save=timedelta(hours=1))):
        await world.until_password("shop")
    assert world.mount.placed(REF) == {1: {"shop"}}


async def test_an_event_that_fails_during_an_outage_is_written_afterwards(world: World) -> None:
    world.mount.grant({})
    world.cluster.faults["tell",] = TransientError("the API server restarts")
    async with world.running():
        await until(lambda: ("tell", "shop", "NotGranted") in world.cluster.calls)
        world.cluster.faults.clear()
        await until(lambda: world.events() == ["NotGranted"])


async def test_the_liveness_probe_succeeds_while_sync_waits_for_vault(world: World) -> None:
    """A restart would not bring Vault back."""
    world.kv.faults["list", "status"] = TransientError("sealed")
    async with world.running() as loop:
        await asyncio.sleep(0.05)
        loop._scheduler._passed_at -= 3600
        await until(lambda: loop.alive)


@pytest.mark.parametrize("late", [0.1, 0.5])
async def test_a_name_is_removed_from_a_serviceaccount_even_if_those_are_listed_late(
    world: World, late: float
) -> None:
    """0.1 s is during the wait for the first lists, 0.5 s after it, when the revoked Secret has been
    deleted."""
    world.mode = Mode.SERVICEACCOUNT
    async with world.running():
        await until(
            lambda: world.cluster._objects["ServiceAccount", "shop", "default"].get("imagePullSecrets")
        )
        await world.until_password("shop")
    world.mount.index(REF, state=State.REVOKED, version=1)
    list_now = world.cluster.list

    async def list_late(kind: Kind) -> Listing:
        if kind is SERVICE_ACCOUNT:
            await asyncio.sleep(late)
        return await list_now(kind)

    world.cluster.list = list_late
    world.cluster.calls.clear()
    async with world.running():
        await world.until_password("shop", None)
        await until(
            lambda: not world.cluster._objects["ServiceAccount", "shop", "default"].get("imagePullSecrets")
        )
    if late < QUICK.first_lists.total_seconds():
        assert [call[0] for call in world.cluster.writes()][:2] == ["account", "delete"]


async def test_an_unneeded_secret_stays_until_the_serviceaccounts_are_listed(
    world: World,
) -> None:
    world.mode = Mode.SERVICEACCOUNT
    async with world.running():
        await until(
            lambda: world.cluster._objects["ServiceAccount", "shop", "default"].get("imagePullSecrets")
        )
        await world.until_password("shop")
    await world.cluster.remove("Deployment", "shop", "web")
    world.cluster.faults["list", "ServiceAccount"] = TransientError("the API server is busy")
    async with world.running():
        await asyncio.sleep(0.4)
        assert password_in(await world.cluster.secret("shop", NAME)) == "s3cret-one"
        world.cluster.faults.clear()
        await world.until_password("shop", None)
    assert await world.cluster.account_pull_secrets("shop", "default") == []


async def test_a_project_that_is_no_longer_used_has_no_metric(world: World) -> None:
    metrics = Metrics()
    known = 'regcred_vault_document_known{document="payments"}'
    async with world.running(meter=metrics):
        await world.until_password("shop")
        assert f"{known} 1.0" in metrics.text().decode()
        world.kv.faults["version", "credentials/payments"] = RefusedError("permission denied")
        await until(lambda: f"{known} 0.0" in metrics.text().decode())
        world.mount.grant({"other": ["shop"]})
        await world.until_password("shop", None)
        await until(lambda: known not in metrics.text().decode())


async def test_only_placed_credentials_have_a_metric_of_their_expiry(world: World) -> None:
    metrics = Metrics()
    expiry = "regcred_credential_expiry_timestamp_seconds{"
    world.mount.mint("payments/nobody-uses-it")
    async with world.running(meter=metrics):
        await until(lambda: f'{expiry}project="payments",registry="ecr-prod"' in metrics.text().decode())
        assert "nobody-uses-it" not in metrics.text().decode()
        world.mount.index(REF, state=State.REVOKED, version=1, expires_at=utc_now() + timedelta(hours=1))
        await until(lambda: expiry not in metrics.text().decode())


async def test_each_watch_has_a_heartbeat_metric(world: World) -> None:
    metrics = Metrics()
    async with world.running(meter=metrics):
        await world.until_password("shop")
        assert 'regcred_watch_heartbeat_timestamp_seconds{kind="CronJob"}' in metrics.text().decode()


async def test_a_ledger_whose_write_failed_is_written_at_shutdown(world: World) -> None:
    write, tries = world.kv.write, []

    def failing_second_write(path: str, fields: dict[str, str], *, cas: int) -> int:
        if path.startswith("status/"):
            tries.append(path)
        if len(tries) == 2:  # the first is the entry before the projection
            time.sleep(0.2)
            raise TransientError("the connection was lost")
        return write(path, fields, cas=cas)

    world.kv.write = failing_second_write
    async with world.running():
        await until(lambda: len(tries) == 2)
    assert world.mount.placed(REF) == {1: {"shop"}}


async def test_a_label_for_a_mode_that_is_not_allowed_does_not_cause_lists_of_whole_objects(
    world: World,
) -> None:
    world.mode = Mode.ADMISSION
    watched: list[bool] = []
    watch = world.cluster.watch

    def watching(kind: Kind, resource_version: str, *, labelled: bool) -> AsyncIterator[Change]:
        watched.extend([labelled] if kind.name == "Deployment" else [])
        return watch(kind, resource_version, labelled=labelled)

    world.cluster.watch = watching
    world.cluster.faults["list", "ServiceAccount"] = RefusedError("serviceaccounts is forbidden")
    async with world.running() as loop:
        await world.until_password("shop")
        await world.cluster.create(namespace("own-way", labels={"regcred.dev/mode": "serviceaccount"}))
        await until(lambda: ("list", "ServiceAccount") in world.cluster.calls)
        await world.cluster.create(deployment("shop", "another"))
        await asyncio.sleep(0.2)
        assert watched == [True]
        world.cluster.faults.clear()  # it is allowed now
        await until(lambda: loop._engine.inventory.accounts_known)
        await world.cluster.create(deployment("shop", "a-third"))
        await until(lambda: watched == [True, False])


async def test_a_custom_kind_that_is_no_longer_served_removes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This happens when an upgrade of the CRD drops the configured version. The objects still exist."""
    rollout = custom_kind("argoproj.io/v1alpha1/rollouts/Rollout")
    monkeypatch.setitem(KINDS, "Rollout", rollout)
    world.cluster = FakeCluster((*WORKLOADS, rollout))
    await world.cluster.create(namespace("shop"))
    await world.cluster.create(deployment("shop", "web", REF) | {"kind": "Rollout"})
    async with world.running(kinds=(*WORKLOADS, rollout)) as loop:
        await world.until_password("shop")
        monkeypatch.delitem(KINDS, "Rollout")
        for call in ("watching", "watch"):
            world.cluster.faults[call, "Rollout"] = MissingError(
                "the server could not find the requested resource"
            )
        await world.cluster.create(namespace("wakes-the-watch"))
        await until(lambda: not loop.ready)
        await asyncio.sleep(0.25)
        assert password_in(await world.cluster.secret("shop", NAME)) == "s3cret-one"


async def test_a_project_can_have_the_name_grants(world: World) -> None:
    metrics = Metrics()
    world.mount.grant({"payments": ["shop"], "grants": ["shop"]})
    await world.cluster.create(deployment("shop", "other", "grants/registry"))
    async with world.running(meter=metrics):
        await until(lambda: 'regcred_vault_document_known{document="grants"} 0.0' in metrics.text().decode())
        assert 'regcred_vault_document_known{document="platform/clusters/c1"} 1.0' in metrics.text().decode()


async def test_a_pod_with_its_own_pull_secrets_is_not_evicted_repeatedly(world: World) -> None:
    """The list of its ServiceAccount is not added to its own, so the next Pod lacks the name as well."""
    world.mode = Mode.SERVICEACCOUNT
    world.cluster.keep_stuck_pods()
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "1", "controller": True}
    own = pod("shop", "first", pull_secrets=("theirs",), ownerReferences=[owner])
    own["status"] = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
    await world.cluster.create(own)
    async with world.running():
        await until(lambda: world.cluster.evicted == [("shop", "first")])
        await world.cluster.remove("Pod", "shop", "first")
        own["metadata"] |= {"name": "older", "creationTimestamp": "2026-01-01T00:00:00Z"}
        await world.cluster.create(own)
        await until(lambda: world.cluster.evicted == [("shop", "first"), ("shop", "older")])
        later = utc_now() + timedelta(minutes=1)
        own["metadata"] |= {"name": "next", "creationTimestamp": f"{later:%Y-%m-%dT%H:%M:%SZ}"}
        await world.cluster.create(own)
        await asyncio.sleep(0.25)
        assert len(world.cluster.evicted) == 2
