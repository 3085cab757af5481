"""The order and the limits of Events, and the time between retries."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import get_args

import pytest
from fakes.cluster import FakeCluster
from fakes.key_value import FakeKeyValue
from fakes.sync_world import Clock, Mount, deployment, namespace, options

from regcred.cluster.model import WORKLOADS, Workload
from regcred.errors import RefusedError, TransientError
from regcred.sync import Engine
from regcred.sync.action_handlers import PodEvictor
from regcred.sync.actions import ClusterAction, EmitEvent, EvictPod
from regcred.sync.applier import CONCURRENCY
from regcred.sync.event_sender import EVENTS_WAITING, SENDERS
from regcred.sync.fair_queue import FairQueue
from regcred.sync.messages import Reason
from regcred.sync.metrics import Unmeasured
from regcred.sync.retries import Retries

DEPLOYMENT = WORKLOADS[0]


class Counted(Unmeasured):
    def __init__(self) -> None:
        self.dropped = 0

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        self.dropped += int(amount) if name == "events_dropped_total" else 0


@pytest.fixture
def meter() -> Counted:
    return Counted()


@pytest.fixture
def engine(meter: Counted) -> Engine:
    clock = Clock()
    mount = Mount(FakeKeyValue(), clock)
    mount.grant({})
    return Engine(FakeCluster(), mount.store, options(), clock=clock, meter=meter)


def event(space: str, note: str) -> EmitEvent:
    about = Workload(DEPLOYMENT, space, "web", f"u-{space}", ())
    return EmitEvent(about, Reason.MALFORMED, note, topic=note)


async def test_a_namespace_with_many_events_delays_no_other(
    engine: Engine,
) -> None:
    async with engine:
        for number in range(90):
            engine.sender.add(event("noisy", f"line {number}"))
        engine.sender.add(event("calm", "one"))
        engine.sender.add(event("quiet", "two"))
        await engine.drain()
    order = [message.about.namespace for message in engine.cluster.messages]
    assert {order.index("calm"), order.index("quiet")} <= {1, 2, 3, 4}
    assert len(order) == 92


async def test_the_number_of_waiting_events_of_a_namespace_is_limited(engine: Engine, meter: Counted) -> None:
    for number in range(EVENTS_WAITING + 5):
        engine.sender.add(event("noisy", f"line {number}"))
    engine.sender.add(event("calm", "one"))
    assert meter.dropped == 5


async def test_the_fair_queue_takes_turns_and_drops_the_oldest_item() -> None:
    turns: FairQueue[str] = FairQueue(lambda item: item[0], limit=3)
    dropped = [item for item in ("a1", "a2", "b1", "a3", "a4", "b2") if turns.add(item)]
    assert (dropped, turns.qsize()) == (["a4"], 5)
    taken = []
    while not turns.empty():
        taken.append(turns.get_nowait())
        turns.task_done()
    assert taken == ["a2", "b1", "a3", "b2", "a4"]
    await turns.join()


async def test_sent_events_about_changed_annotations_are_forgotten(engine: Engine) -> None:
    cluster = engine.cluster
    await cluster.create(namespace("noisy"))
    async with engine:
        await engine.load()
        for number in range(5):
            await cluster.create(deployment("noisy", "web", f"Wrong/{number}"))
            for kind in engine.kinds():
                await engine.list_kind(kind)
            await engine.reconcile()
        engine.events.tidy(engine.inventory)
        await engine.reconcile()
        await engine.drain()
    assert len([call for call in cluster.calls if call[0] == "tell"]) == 5, (
        "each malformed value gets one Event"
    )
    [sent] = engine.events._written.values()
    assert len(sent) == 1


async def test_an_internal_error_after_an_action_ends_no_worker(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("not one of our errors")

    monkeypatch.setattr(PodEvictor, "fail", fail)
    engine.cluster.faults[("evict",)] = RefusedError("pods/eviction is forbidden")
    pods = [f"web-{number}" for number in range(2 * CONCURRENCY)]
    async with engine, asyncio.timeout(20):
        engine.applier.submit(EvictPod("shop", pod, "default", "1") for pod in pods)
        await engine.drain()
    assert sorted(call[2] for call in engine.cluster.calls if call[0] == "evict") == sorted(pods)
    assert engine.applier.idle


async def test_an_internal_error_before_an_event_ends_no_worker(engine: Engine) -> None:
    engine.cluster.faults[("events", Reason.NOT_GRANTED)] = ValueError("not one of our errors")
    about = Workload(DEPLOYMENT, "shop", "web", "u", ())
    async with engine, asyncio.timeout(20):
        for number in range(2 * SENDERS):
            engine.sender.add(EmitEvent(about, Reason.PLACED, f"note {number}", corrects="another"))
        engine.sender.add(event("shop", "one"))
        await engine.drain()
    assert [message.note for message in engine.cluster.messages] == ["one"]


def test_each_type_of_action_has_a_handler(engine: Engine) -> None:
    assert set(engine.applier._handlers) == set(get_args(ClusterAction))


class TestRetryAfter:
    """A Retry-After of the API server counts in full, even if our own back-off is shorter."""

    KEY = ("shop", "payments/ecr-prod")

    @pytest.mark.parametrize("seconds", [1, 45, 600])
    def test_a_write_waits_for_the_time_of_retry_after(self, seconds: int) -> None:
        clock = Clock()
        retries = Retries(clock)
        error = TransientError("busy", retry_after=timedelta(seconds=seconds))
        retries.fail(self.KEY, error, delays_removal=True)
        clock.move(seconds=seconds - 0.5)
        assert not retries.due()
        clock.move(seconds=5)
        assert retries.due() == {"shop"}

    def test_retry_after_counts_for_one_failure_only(self) -> None:
        clock = Clock()
        retries = Retries(clock)
        retries.fail(self.KEY, TransientError("busy", retry_after=timedelta(hours=1)), delays_removal=True)
        retries.begin(self.KEY)
        retries.fail(self.KEY, TransientError("busy"), delays_removal=True)
        clock.move(seconds=60)
        assert retries.due() == {"shop"}
