"""A credential's numbering that was lost: somebody deleted ``credentials/P/R`` with its metadata."""

from __future__ import annotations

import pytest
from fakes.cloud import Clock, FakeAnnouncer, FakeIdentities, FakeProvider, FakeVerifier
from fakes.key_value import FakeKeyValue

from regcred.reference import Reference
from regcred.rotate import Done, Rotate
from regcred.vault.records.declared import Action, Definition, ProjectPolicy, Request
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.paths import credential_path
from regcred.vault.store import Store
from regcred.work import Message, Reason

PROD = Reference("payments", "prod")
HOST = "registry.example.com"


class World:
    """A registry whose credential has been renewed a few times, and whose numbering is lost now."""

    def __init__(self) -> None:
        self.clock, self.kv, self.provider = Clock(), FakeKeyValue(), FakeProvider()
        self.store = Store(self.kv)
        self.verb = Rotate(
            store=self.store,
            provider_for=lambda _: self.provider,
            identities=FakeIdentities(),
            verifier=FakeVerifier(),
            announcer=FakeAnnouncer(),
            now=self.clock,
        )
        self.store.write_project("payments", ProjectPolicy(hosts=[HOST]), cas=0)
        definition = Definition.model_validate({"provider": "basic", "hosts": [HOST]})
        self.store.write_definition(PROD, definition, cas=0)
        for _ in range(5):
            self.run(Reason.DUE)
            self.clock.tick(hours=7)
        assert self.entry.version == 5
        self.kv.delete(credential_path(PROD))

    def run(self, reason: Reason) -> Done:
        return (
            self.verb.run(Message(project="payments", registries={"prod": reason}), owner="me")
            .outcomes[0]
            .done
        )

    def ask(self, action: Action) -> None:
        self.store.ask(PROD, Request(action=action, asked_at=self.clock()))

    @property
    def entry(self) -> IndexEntry:
        index = self.store.index("payments")
        assert index
        return index.value.registries["prod"]


@pytest.fixture
def lost() -> World:
    return World()


def test_the_next_credential_is_newer_than_all_that_clusters_know(lost: World) -> None:
    assert lost.run(Reason.DUE) is Done.ROTATED
    stored = lost.store.credential(PROD)
    assert stored is not None
    assert lost.entry.version == stored.version == 6
    assert lost.entry.state is State.OK


def test_no_sweep_mints_again_before_its_time(lost: World) -> None:
    lost.run(Reason.DUE)
    minted = len(lost.provider.contexts)
    for _ in range(5):
        lost.clock.tick(minutes=5)
        assert lost.run(Reason.DUE) is Done.DROPPED
    assert len(lost.provider.contexts) == minted


def test_a_revoke_is_told(lost: World) -> None:
    lost.ask(Action.REVOKE)
    assert lost.run(Reason.ASKED) is Done.REVOKED
    assert lost.entry.state is State.REVOKED


def test_a_removal_is_told(lost: World) -> None:
    lost.store.remove_definition(PROD)
    assert lost.run(Reason.REMOVED) is Done.REMOVED
    assert lost.entry.state is State.REMOVED
