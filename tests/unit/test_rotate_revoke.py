"""What a revoke says of how far it went."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fakes.cloud import Clock, FakeAnnouncer, FakeIdentities, FakeProvider, FakeVerifier
from fakes.key_value import FakeKeyValue

from regcred.reference import Reference
from regcred.registry.interface import Revoked
from regcred.rotate import Done, Rotate
from regcred.vault.records.declared import Action, Definition, ProjectPolicy, Request
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.store import Store
from regcred.work import Message, Reason

MAIN = Reference("payments", "main")
HOST = "registry.example.com"


class World:
    """A registry with its first credential."""

    def __init__(self, *, life: timedelta | None) -> None:
        self.clock, self.provider, self.store = Clock(), FakeProvider(life=life), Store(FakeKeyValue())
        self.verb = Rotate(
            store=self.store,
            provider_for=lambda _: self.provider,
            identities=FakeIdentities(),
            verifier=FakeVerifier(),
            announcer=FakeAnnouncer(),
            now=self.clock,
        )
        self.store.write_project("payments", ProjectPolicy(hosts=[HOST, "ghcr.io"]), cas=0)
        self.define(provider="basic", hosts=[HOST])
        assert self.run(Reason.NEW) is Done.ROTATED

    def define(self, **content: object) -> None:
        version = self.store.definition_version(MAIN)
        self.store.write_definition(MAIN, Definition.model_validate(content), cas=version)

    def run(self, reason: Reason) -> Done:
        return (
            self.verb.run(Message(project="payments", registries={"main": reason}), owner="me")
            .outcomes[0]
            .done
        )

    def revoke(self) -> IndexEntry:
        self.store.ask(MAIN, Request(action=Action.REVOKE, asked_at=self.clock()))
        assert self.run(Reason.ASKED) is Done.REVOKED
        index = self.store.index("payments")
        assert index is not None
        entry = index.value.registries["main"]
        assert entry.state is State.REVOKED
        return entry


@pytest.mark.parametrize(
    ("life", "said"), [(timedelta(hours=12), "it works until 2026-11-25T00:00"), (None, "change it there")]
)
def test_a_vendor_that_can_not_revoke_leaves_it_until_it_ends(life: timedelta | None, said: str) -> None:
    world = World(life=life)
    world.provider.revoked = Revoked.UNSUPPORTED
    assert said in world.revoke().error


def test_another_vendor_than_the_one_that_made_it_is_not_asked() -> None:
    world = World(life=None)
    world.define(provider="ghcr")
    assert "provider basic made it" in world.revoke().error
    assert world.provider.revocations == []
