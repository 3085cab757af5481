"""The time limits of rotate leave enough time to write the outcomes, however slow vendors are."""

from __future__ import annotations

import functools
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from fakes.rotate_world import PROD, World

from regcred.errors import TransientError
from regcred.registry import limits
from regcred.rotate import RESERVE, RotationResult
from regcred.rotate.registry_batch import CLAIM_PATIENCE, VENDOR_TIME
from regcred.rotate.verify_new import VERIFY_GRACE
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.settings import RotateSettings

ROOT = Path(__file__).resolve().parents[2]
WRITING = timedelta(seconds=10)
"""The time for the writes after a mint: the index, the history, the request and the claim."""


class _Template(yaml.SafeLoader):
    """Reads CloudFormation's tags as None."""


_Template.add_multi_constructor("!", lambda *_: None)


@functools.cache
def timeout() -> timedelta:
    """The timeout of rotate's Lambda function."""
    template = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Template)
    function = template["Resources"]["Rotate"]["Properties"]
    return timedelta(seconds=function.get("Timeout", template["Globals"]["Function"]["Timeout"]))


def run(world: World, *, left: timedelta) -> RotationResult:
    """Run one registry, with ``left`` until the time after which rotate starts no other."""
    message = RotationMessage(project="payments", registries={"prod": RotationReason.NEW})
    (outcome,) = world.verb.run(message, owner="me", until=world.clock() + left).outcomes
    return outcome.done


def test_the_last_registry_has_time_for_the_vendor_and_for_the_writes() -> None:
    assert VENDOR_TIME + WRITING <= RESERVE
    assert VERIFY_GRACE < VENDOR_TIME
    assert timeout() / 2 > RESERVE, "most of the time of a run is for rotations"


def test_a_claim_ends_after_its_run_and_before_the_next_delivery() -> None:
    lease = timedelta(seconds=RotateSettings.model_fields["lease_seconds"].default)
    assert timeout() < lease < 6 * timeout()
    assert timeout() - RESERVE > CLAIM_PATIENCE


@pytest.mark.parametrize(("left", "most"), [(0.1, 15.2), (5, 20.1), (35, 30)])
def test_all_calls_to_vendors_end_before_the_time_for_the_writes(left: float, most: float) -> None:
    world, seen = World(), list[float]()

    def call() -> None:
        with limits.one_call() as budget:
            seen.append(budget.seconds)

    world.provider.meanwhile = call
    assert run(world, left=timedelta(seconds=left)) is RotationResult.ROTATED
    assert most - 1 < seen[0] <= most


def test_nested_calls_share_the_time() -> None:
    with limits.one_call(10), limits.one_call() as budget:
        assert budget.seconds <= 10
        assert budget.allowed <= 10


def test_a_registry_that_waits_for_its_vendor_until_the_deadline_does_not_count_as_failing() -> None:
    world = World(per_vendor=1)
    bounds = world.verb._tools.bounds
    original = bounds._delay

    def slow_delay(vendor: str) -> float:
        world.clock.tick(seconds=40)
        return original(vendor)

    bounds._delay = slow_delay
    assert run(world, left=timedelta(seconds=35)) is RotationResult.BUSY
    assert world.provider.contexts == []
    rotation = world.store.rotation(PROD)
    assert rotation.value.claim is None
    assert world.store.index("payments") is None


def test_the_error_of_a_timeout_contains_the_actual_time() -> None:
    from regcred.registry.causes import unreachable

    with limits.one_call(2), limits.one_call() as budget:
        error = unreachable("x.example.com", OSError(), late=True, seconds=budget.allowed)
    assert isinstance(error, TransientError)
    assert "in 2 seconds" in str(error)
