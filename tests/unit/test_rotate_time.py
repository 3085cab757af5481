"""The times of rotate fit together: whatever vendors do, time is left to write what came of it."""

from __future__ import annotations

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
"""What the writes after a mint may take: the index, the history, the answer to a request, the claim."""


class _Template(yaml.SafeLoader):
    """Reads CloudFormation's own tags as nothing."""


_Template.add_multi_constructor("!", lambda *_: None)


def timeout() -> timedelta:
    """How long Lambda lets rotate run."""
    template = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Template)
    function = template["Resources"]["Rotate"]["Properties"]
    return timedelta(seconds=function.get("Timeout", template["Globals"]["Function"]["Timeout"]))


def run(world: World, *, left: timedelta) -> RotationResult:
    """One registry, begun with some time left until no other would be begun."""
    message = RotationMessage(project="payments", registries={"prod": RotationReason.NEW})
    (outcome,) = world.verb.run(message, owner="me", until=world.clock() + left).outcomes
    return outcome.done


def test_who_is_begun_last_has_time_to_ask_and_to_write() -> None:
    assert VENDOR_TIME + WRITING <= RESERVE
    assert VERIFY_GRACE < VENDOR_TIME
    assert timeout() / 2 > RESERVE, "most of a run is for rotating"


@pytest.mark.no_cover
def test_a_claim_outlives_the_run_that_holds_it_and_ends_before_the_message_comes_again() -> None:
    lease = timedelta(seconds=RotateSettings.model_fields["lease_seconds"].default)
    assert timeout() < lease < 6 * timeout()
    assert timeout() - RESERVE > CLAIM_PATIENCE


@pytest.mark.parametrize(("left", "most"), [(0.1, 15.2), (5, 20.1), (35, 30)])
def test_all_calls_of_vendors_end_before_the_time_for_writing_begins(left: float, most: float) -> None:
    world, seen = World(), list[float]()

    def call() -> None:
        with limits.one_call() as budget:
            seen.append(budget.seconds)

    world.provider.meanwhile = call
    assert run(world, left=timedelta(seconds=left)) is RotationResult.ROTATED
    assert most - 1 < seen[0] <= most


def test_calls_that_follow_each_other_share_the_time() -> None:
    with limits.one_call(10), limits.one_call() as budget:
        assert budget.seconds <= 10
        assert budget.allowed <= 10


def test_a_registry_that_waited_for_its_place_until_no_time_was_left_does_not_count_as_failing() -> None:
    world = World(per_vendor=1)
    bounds = world.verb._tools.bounds
    original = bounds._delay

    def long(vendor: str) -> float:
        world.clock.tick(seconds=40)
        return original(vendor)

    bounds._delay = long  # type: ignore[method-assign]
    assert run(world, left=timedelta(seconds=35)) is RotationResult.BUSY
    assert world.provider.contexts == []
    rotation = world.store.rotation(PROD)
    assert rotation.value.claim is None
    assert world.store.index("payments") is None


def test_the_error_tells_the_time_that_a_call_really_had() -> None:
    from regcred.registry.causes import unreachable

    with limits.one_call(2), limits.one_call() as budget:
        error = unreachable("x.example.com", OSError(), late=True, seconds=budget.allowed)
    assert isinstance(error, TransientError)
    assert "in 2 seconds" in str(error)
