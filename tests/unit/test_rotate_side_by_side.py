"""Registries of one message do not affect each other, and vendors do not wait for each other."""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any

import pytest
from fakes.cloud import Clock
from fakes.rotate_world import HOST, PROD, World

from regcred.errors import TransientError
from regcred.registry.definition import BaseDefinition
from regcred.registry.parsing import parse
from regcred.registry_reference import Reference
from regcred.rotate import RotationResult, context
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.vault.records.paths import registry_path

OTHER = Reference("payments", "other")
BOTH = RotationMessage(
    project="payments", registries={"other": RotationReason.NEW, "prod": RotationReason.NEW}
)


@pytest.fixture
def world() -> World:
    world = World(straggling=timedelta(seconds=0.1))
    world.define(OTHER)
    return world


def test_a_vendor_that_hangs_does_not_delay_the_index_entries_of_others(world: World) -> None:
    mint, end = world.provider.mint, Event()

    def hang(definition: Any, context: Any) -> Any:
        if context.reference == OTHER:
            end.wait(10)
        return mint(definition, context)

    world.provider.mint = hang
    announced = Event()
    world.announcer.announce = lambda _: announced.set()
    running = Thread(target=world.verb.run, args=(BOTH,), kwargs={"owner": "me"})
    running.start()
    try:
        assert announced.wait(10)
        assert names(world) == ["prod"]
    finally:
        end.set()
        running.join()
    assert names(world) == ["other", "prod"]


def names(world: World) -> list[str]:
    index = world.store.index("payments")
    return sorted(index.value.registries) if index else []


def test_a_definition_that_causes_an_exception_stops_no_other_registry(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse_or_fail(content: dict[str, Any], *, where: str) -> BaseDefinition:
        if where == registry_path(OTHER):
            raise KeyError("s3cr3t")
        return parse(content, where=where)

    monkeypatch.setattr(context, "parse", parse_or_fail)
    report = world.verb.run(BOTH, owner="me")
    assert [outcome.done for outcome in report.outcomes] == [RotationResult.FAILING, RotationResult.ROTATED]
    assert "s3cr3t" not in world.entry("other").error


def test_an_outcome_is_reported_even_if_another_registry_cannot_be_read(world: World) -> None:
    world.kv.faults["read", registry_path(OTHER)] = TransientError("timeout")
    report = world.verb.run(BOTH, owner="me")
    assert [(outcome.reference, outcome.done) for outcome in report.outcomes] == [
        (PROD, RotationResult.ROTATED)
    ]
    assert [str(error) for error in report.errors] == ["timeout"]


def test_a_failed_write_of_the_index_is_reported_and_repaired_by_the_next_delivery(world: World) -> None:
    world.kv.faults["write", "credentials/payments/_index"] = TransientError("sealed")
    report = world.verb.run(BOTH, owner="me")
    assert (report.outcomes, [str(error) for error in report.errors]) == ([], ["sealed"])
    world.kv.faults.clear()
    world.clock.tick(minutes=6)
    again = world.verb.run(BOTH, owner="you")
    assert [outcome.done for outcome in again.outcomes] == [RotationResult.REPAIRED, RotationResult.REPAIRED]


def test_at_most_20_rotations_start_at_a_vendor_per_second() -> None:
    clock, started = Clock(), []

    def sleep(seconds: float) -> None:
        clock.tick(seconds=seconds)

    bounds = context.Bounds(10, now=clock, sleep=sleep)
    definition = parse({"provider": "basic", "hosts": [HOST]}, where="")
    for _ in range(100):
        with bounds.at(definition):
            started.append(clock())
    assert started[19] == started[0], "the first 20 do not wait"
    assert all(within_a_second(started, start) <= 20 for start in started)
    assert started[-1] - started[0] == timedelta(seconds=4)


def within_a_second(started: list[datetime], start: datetime) -> int:
    return sum(start <= time < start + timedelta(seconds=1) for time in started)


def test_two_vendors_do_not_wait_for_each_other() -> None:
    slept: list[float] = []
    bounds = context.Bounds(10, now=Clock(), sleep=slept.append)
    for host in (HOST, "other.example.com"):
        for _ in range(20):
            with bounds.at(parse({"provider": "basic", "hosts": [host]}, where="")):
                pass
    assert slept == []
