"""The history of a project: rotate writes the outcomes of each registry to it, within a size limit."""

from __future__ import annotations

import json
import random
from dataclasses import astuple
from datetime import UTC, datetime, timedelta

import pytest
from fakes.rotate_world import PROD, World
from hypothesis import given
from hypothesis import strategies as st

from regcred.errors import MalformedError, RefusedError, TransientError
from regcred.rotate import RotationResult
from regcred.rotation_message import RotationReason
from regcred.vault.records.compression import deflate
from regcred.vault.records.history import HISTORY_MAX, KEPT, Attempt, History

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def attempts(world: World, name: str = "prod") -> list[tuple[str, int, str]]:
    found = world.store.history("payments")
    return [(a.outcome, a.version, a.error_kind) for a in found.value.attempts(name)] if found else []


def test_the_outcomes_of_a_registry_are_kept_newest_first() -> None:
    world = World()
    world.run(RotationReason.NEW)
    world.clock.tick(hours=6)
    world.provider.error = RefusedError("the password s3cr3t is wrong")
    world.run()
    assert attempts(world) == [("failing", 1, "refused"), ("rotated", 1, "")]
    assert "s3cr3t" not in str(world.store.history("payments"))


def test_a_run_without_an_outcome_writes_no_history_and_a_batch_writes_it_once() -> None:
    world = World()
    world.run(RotationReason.NEW)
    world.kv.calls.clear()
    world.run()  # not due
    assert ("write", "history/payments") not in world.kv.calls
    world.clock.tick(hours=6)
    world.run()
    assert world.kv.calls.count(("write", "history/payments")) == 1


def test_the_duration_of_an_outcome_is_kept() -> None:
    world = World()
    world.provider.meanwhile = lambda: world.clock.tick(seconds=1.25) and None
    world.run(RotationReason.NEW)
    history = world.store.history("payments")
    assert history
    assert history.value.attempts("prod")[0].milliseconds == 1250


def test_a_failed_write_of_the_history_fails_no_rotation() -> None:
    world = World()
    world.kv.faults["write", "history/"] = TransientError("sealed")
    assert world.one(RotationReason.NEW) is RotationResult.ROTATED
    assert world.store.rotation(PROD).value.claim is None


def test_a_malformed_history_is_replaced() -> None:
    world = World()
    world.kv.put("history/payments", {"document": "{}"})
    world.run(RotationReason.NEW)
    assert attempts(world) == [("rotated", 1, "")]


ATTEMPT = st.builds(
    Attempt,
    at=st.integers(0, 10**8).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    outcome=st.sampled_from([done.value for done in RotationResult]),
    version=st.integers(0, 10**6),
    milliseconds=st.integers(0, 10**6),
    error_kind=st.sampled_from(["", "refused", "transient"]),
)


@given(st.lists(ATTEMPT, max_size=60))
def test_outcomes_are_parsed_as_they_were_written(made: list[Attempt]) -> None:
    history = History()
    for attempt in made:
        history = history.with_attempts({"r": attempt})
    history = History.parse(history.fields(), path="history/p")
    found = history.attempts("r")
    assert len(found) == min(len(made), KEPT)
    assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)
    assert {astuple(one) for one in found} <= {astuple(one) for one in made}


@pytest.mark.no_cover
def test_the_history_of_10000_registries_keeps_fewer_outcomes_and_fits_into_one_document() -> None:
    rng = random.Random(7)
    history = History()
    for number in range(KEPT):
        at = NOW + timedelta(hours=6 * number)
        history = history.with_attempts(
            {
                f"r{name}": Attempt(
                    at + timedelta(seconds=rng.randrange(2000)), "rotated", number, rng.randrange(3000)
                )
                for name in range(10_000 if number > KEPT - 6 else 100)
            }
        )
    fields = history.fields()
    assert len(fields["document"]) <= HISTORY_MAX
    read = History.parse(fields, path="history/p")
    assert len(read.registries) == 10_000
    assert len(read.attempts("r77")) >= 4
    assert read.attempts("r77")[0] == history.attempts("r77")[0]


@pytest.mark.no_cover
def test_a_history_with_names_of_maximum_length_drops_the_oldest_registries() -> None:
    rng = random.Random(7)
    names = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=63)) for _ in range(20_000)]
    history = History().with_attempts(
        {name: Attempt(NOW + timedelta(seconds=at), "rotated") for at, name in enumerate(names)}
    )
    fields = history.fields()
    assert len(fields["document"]) <= HISTORY_MAX
    read = History.parse(fields, path="history/p")
    assert read.attempts(names[-1])
    assert not read.attempts(names[0])


def test_the_history_drops_unknown_registries() -> None:
    history = History().with_attempts({"a": Attempt(NOW, "rotated"), "b": Attempt(NOW, "rotated")})
    history = history.with_attempts({"c": Attempt(NOW, "rotated")}, known={"a", "c"})
    assert sorted(history.registries) == ["a", "c"]


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        '{"history": 7}',
        '{"history": "!"}',
        json.dumps({"history": deflate("[" * 100_000)}),
        json.dumps({"history": deflate(json.dumps({"r": 7}))}),
    ],
    ids=["empty", "list", "number", "no-base64", "deep", "no-text"],
)
def test_a_malformed_history_is_refused_with_one_line(document: str) -> None:
    with pytest.raises(MalformedError, match="history/p: this is not a history"):
        History.parse({"document": document}, path="history/p")


def test_a_history_that_unpacks_to_40_megabytes_is_refused_in_one_line() -> None:
    document = json.dumps({"history": deflate("0" * 40_000_000)})
    with pytest.raises(MalformedError, match="history/p: this is not a history"):
        History.parse({"document": document}, path="history/p")


@pytest.mark.parametrize("text", ["x", "1,2", f"{10**30},rotated,1,1,", "1,rotated,x,1,"])
def test_malformed_outcomes_are_ignored(text: str) -> None:
    assert History(registries={"r": text}).attempts("r") == []
