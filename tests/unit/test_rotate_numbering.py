"""Rotation after somebody has deleted ``credentials/P/R`` with its metadata, so that Vault counts from 1
again."""

from __future__ import annotations

import pytest
from fakes.rotate_world import PROD, World

from regcred.rotate import RotationResult
from regcred.rotation_message import RotationReason
from regcred.vault.records.declared import Action
from regcred.vault.records.index import State
from regcred.vault.records.paths import credential_path


@pytest.fixture
def lost() -> World:
    """A registry whose credential had version 5 before it was deleted with its metadata."""
    world = World()
    for _ in range(5):
        world.one(RotationReason.DUE)
        world.clock.tick(hours=7)
    assert world.entry().version == 5
    world.kv.delete(credential_path(PROD))
    return world


def test_the_next_credential_has_a_newer_version_than_the_index(lost: World) -> None:
    assert lost.one(RotationReason.DUE) is RotationResult.ROTATED
    stored = lost.store.credential(PROD)
    assert stored is not None
    assert lost.entry().version == stored.version == 6
    assert lost.entry().state is State.OK


def test_the_next_credential_is_not_minted_before_it_is_due(lost: World) -> None:
    lost.one(RotationReason.DUE)
    minted = len(lost.provider.contexts)
    for _ in range(5):
        lost.clock.tick(minutes=5)
        assert lost.one(RotationReason.DUE) is RotationResult.DROPPED
    assert len(lost.provider.contexts) == minted


def test_a_revocation_is_recorded_in_the_index(lost: World) -> None:
    lost.ask(Action.REVOKE)
    assert lost.one(RotationReason.REQUESTED) is RotationResult.REVOKED
    assert lost.entry().state is State.REVOKED


def test_a_removal_is_recorded_in_the_index(lost: World) -> None:
    lost.store.remove_definition(PROD)
    assert lost.one(RotationReason.REMOVED) is RotationResult.REMOVED
    assert lost.entry().state is State.REMOVED
