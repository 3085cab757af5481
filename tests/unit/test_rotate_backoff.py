"""Scheduled failures lengthen the back-off; failures of requests do not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fakes.rotate_world import PROD, World

from regcred.errors import RefusedError, TransientError
from regcred.registry.interface import Verdict
from regcred.rotate import RotationResult
from regcred.rotation_message import RotationReason
from regcred.vault.records.declared import Action


@pytest.fixture
def failing() -> World:
    """A registry that has failed twice by its schedule."""
    world = World()
    world.run(RotationReason.NEW)
    world.clock.tick(hours=6)
    world.provider.error = TransientError("the vendor is away")
    for _ in range(2):
        assert world.one() is RotationResult.FAILING
        world.clock.time = world.entry().next_attempt_at
    assert world.one() is RotationResult.FAILING
    return world


@pytest.mark.parametrize("error", [TransientError("still away"), RefusedError("no such role")])
def test_a_failed_request_does_not_change_the_back_off(failing: World, error: Exception) -> None:
    before = failing.entry()
    failing.provider.error = error
    for _ in range(5):
        failing.clock.tick(seconds=5)
        failing.ask(Action.ROTATE)
        assert failing.one(RotationReason.REQUESTED) is RotationResult.FAILING
    after = failing.entry()
    assert (after.attempts, after.next_attempt_at) == (before.attempts, before.next_attempt_at)
    assert after.error == str(error)


def test_a_failed_verification_does_not_change_the_back_off(failing: World) -> None:
    before = failing.entry()
    failing.verifier.verdict = Verdict.REFUSED
    failing.clock.tick(seconds=5)
    failing.ask(Action.VERIFY)
    assert failing.one(RotationReason.REQUESTED) is RotationResult.FAILING
    after = failing.entry()
    assert (after.attempts, after.next_attempt_at) == (before.attempts, before.next_attempt_at)


def test_a_failing_edited_definition_restarts_the_back_off(failing: World) -> None:
    assert failing.entry().attempts == 3
    failing.define(PROD, description="mended, it was thought")
    assert failing.one(RotationReason.EDITED) is RotationResult.FAILING
    assert failing.entry().attempts == 1


def test_retry_after_counts_for_requests_too(failing: World) -> None:
    failing.provider.error = TransientError("slow down", retry_after=timedelta(hours=2))
    failing.ask(Action.ROTATE)
    assert failing.one(RotationReason.REQUESTED) is RotationResult.FAILING
    assert failing.entry().next_attempt_at >= failing.clock() + timedelta(hours=2)


def test_a_scheduled_failure_lengthens_the_back_off(failing: World) -> None:
    before = failing.entry()
    failing.clock.time = before.next_attempt_at
    assert failing.one() is RotationResult.FAILING
    assert failing.entry().attempts == before.attempts + 1
