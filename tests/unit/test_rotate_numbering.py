"""A credential's numbering that was lost: somebody deleted ``credentials/P/R`` with its metadata."""

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
    """A registry whose credential has been renewed a few times, and whose numbering is lost now."""
    world = World()
    for _ in range(5):
        world.one(RotationReason.DUE)
        world.clock.tick(hours=7)
    assert world.entry().version == 5
    world.kv.delete(credential_path(PROD))
    return world


def test_the_next_credential_is_newer_than_all_that_clusters_know(lost: World) -> None:
    assert lost.one(RotationReason.DUE) is RotationResult.ROTATED
    stored = lost.store.credential(PROD)
    assert stored is not None
    assert lost.entry().version == stored.version == 6
    assert lost.entry().state is State.OK


def test_no_sweep_mints_again_before_its_time(lost: World) -> None:
    lost.one(RotationReason.DUE)
    minted = len(lost.provider.contexts)
    for _ in range(5):
        lost.clock.tick(minutes=5)
        assert lost.one(RotationReason.DUE) is RotationResult.DROPPED
    assert len(lost.provider.contexts) == minted


def test_a_revoke_is_told(lost: World) -> None:
    lost.ask(Action.REVOKE)
    assert lost.one(RotationReason.ASKED) is RotationResult.REVOKED
    assert lost.entry().state is State.REVOKED


def test_a_removal_is_told(lost: World) -> None:
    lost.store.remove_definition(PROD)
    assert lost.one(RotationReason.REMOVED) is RotationResult.REMOVED
    assert lost.entry().state is State.REMOVED
