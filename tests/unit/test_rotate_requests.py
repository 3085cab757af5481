"""Requests: rotate handles revocations first, and deletes malformed requests."""

from __future__ import annotations

from datetime import timedelta
from threading import Event, Thread

import pytest
from fakes.rotate_world import PROD, World

from regcred.errors import TransientError
from regcred.rotate import RotationResult
from regcred.rotation_message import RotationReason
from regcred.vault.records.declared import Action
from regcred.vault.records.index import State


@pytest.fixture
def rotated() -> World:
    world = World()
    assert world.one(RotationReason.NEW) is RotationResult.ROTATED
    return world


def test_a_revocation_waits_for_a_running_rotation_and_revokes_its_credential() -> None:
    started, end, waited = Event(), Event(), []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        end.set()
        rotating.join(10)

    def hang() -> None:
        started.set()
        end.wait(10)

    world = World(sleep=sleep)
    world.provider.meanwhile = hang
    rotating = Thread(target=world.run, args=(RotationReason.NEW,), kwargs={"owner": "other"})
    rotating.start()
    assert started.wait(10)
    world.ask(Action.REVOKE)
    assert world.one(RotationReason.REVOKE) is RotationResult.REVOKED
    assert waited
    assert world.entry().state is State.REVOKED
    assert world.provider.revocations == ["token-1"]


def test_a_claim_that_is_never_released_ends_the_wait_and_the_request_stays(rotated: World) -> None:
    store = rotated.store
    lease = timedelta(minutes=2)
    store.claim(PROD, store.rotation(PROD), owner="dead", now=rotated.clock(), lease=lease)
    rotated.ask(Action.REVOKE)
    assert rotated.one(RotationReason.REVOKE) is RotationResult.BUSY
    assert store.revocation(PROD) is not None
    rotated.clock.tick(minutes=2)
    assert rotated.one(RotationReason.REVOKE) is RotationResult.REVOKED


def test_an_older_request_for_a_rotation_ends_with_a_revocation(rotated: World) -> None:
    rotated.ask(Action.ROTATE)
    rotated.clock.tick(seconds=1)
    rotated.ask(Action.REVOKE)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.REVOKED
    assert rotated.store.pending_requests("payments") == ([], [])


def test_a_newer_request_for_a_rotation_runs_after_a_revocation(rotated: World) -> None:
    rotated.ask(Action.REVOKE)
    rotated.clock.tick(seconds=1)
    rotated.ask(Action.ROTATE)
    assert rotated.one(RotationReason.REVOKE) is RotationResult.REVOKED
    assert rotated.store.pending_requests("payments") == (["prod"], [])
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.ROTATED
    assert rotated.entry().version == 2


def test_a_new_credential_is_not_revoked_by_an_unfinished_revocation(rotated: World) -> None:
    rotated.provider.revoked = TransientError("the vendor is away")
    rotated.ask(Action.REVOKE)
    assert rotated.one(RotationReason.REVOKE) is RotationResult.REVOKED
    rotated.clock.tick(seconds=1)
    rotated.ask(Action.ROTATE)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.ROTATED
    rotated.clock.tick(hours=1)
    assert rotated.one(RotationReason.REVOKE) is RotationResult.DROPPED
    assert rotated.entry().state is State.OK


@pytest.mark.parametrize(
    "document",
    [
        "x" * 1_000_000,
        "{",
        "[" * 50_000,
        '{"action": "obey"}',
        '{"action": "rotate", "requested_at": "soon"}',
    ],
    ids=["huge", "cut-off", "deep", "unknown-action", "no-time"],
)
@pytest.mark.parametrize("path", ["requests/payments/prod", "requests/payments/revoke/prod"])
def test_a_malformed_request_is_deleted_and_blocks_nothing(rotated: World, path: str, document: str) -> None:
    rotated.kv.put(path, {"document": document})
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.DROPPED
    assert rotated.store.pending_requests("payments") == ([], [])
    rotated.clock.tick(hours=6)
    rotated.kv.put(path, {"document": document})
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.ROTATED
    assert rotated.store.pending_requests("payments") == ([], [])


def test_a_request_whose_field_is_not_a_string_is_deleted(rotated: World) -> None:
    rotated.kv.put("requests/payments/prod", {"document": {"action": "rotate"}})
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.DROPPED
    assert rotated.store.pending_requests("payments") == ([], [])
