"""What a revoke says of how far it went."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fakes.rotate_world import HOST, PROD, World

from regcred.registry.interface import Revoked
from regcred.rotate import Done
from regcred.vault.records.declared import Action, Definition, ProjectPolicy
from regcred.vault.records.index import IndexEntry, State
from regcred.work import Reason


def rotated(*, life: timedelta | None) -> World:
    """A registry with its first credential."""
    world = World()
    world.provider.life = life
    assert world.one(Reason.NEW) is Done.ROTATED
    return world


def revoke(world: World) -> IndexEntry:
    world.ask(Action.REVOKE)
    assert world.one(Reason.ASKED) is Done.REVOKED
    entry = world.entry()
    assert entry.state is State.REVOKED
    return entry


@pytest.mark.parametrize(
    ("life", "said"), [(timedelta(hours=12), "it works until 2026-11-25T00:00"), (None, "change it there")]
)
def test_a_vendor_that_can_not_revoke_leaves_it_until_it_ends(life: timedelta | None, said: str) -> None:
    world = rotated(life=life)
    world.provider.revoked = Revoked.UNSUPPORTED
    assert said in revoke(world).error


def test_another_vendor_than_the_one_that_made_it_is_not_asked() -> None:
    world = rotated(life=None)
    world.store.change_project("payments", lambda _: ProjectPolicy(hosts=[HOST, "ghcr.io"]))
    ghcr = Definition.model_validate({"provider": "ghcr"})
    world.store.write_definition(PROD, ghcr, cas=world.store.definition_version(PROD))
    assert "provider basic made it" in revoke(world).error
    assert world.provider.revocations == []
