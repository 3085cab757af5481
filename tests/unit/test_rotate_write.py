"""A credential that Vault does not take."""

from __future__ import annotations

from fakes.cloud import Clock, FakeAnnouncer, FakeIdentities, FakeProvider, FakeVerifier
from fakes.key_value import FakeKeyValue

from regcred.errors import MalformedError
from regcred.reference import Reference
from regcred.rotate import Done, Rotate
from regcred.vault.records.declared import Definition, ProjectPolicy
from regcred.vault.records.index import State
from regcred.vault.store import Store
from regcred.work import Message, Reason

HOST = "registry.example.com"


def test_it_is_told_once_and_backed_off_from_while_others_go_on() -> None:
    clock, kv, provider = Clock(), FakeKeyValue(), FakeProvider()
    store = Store(kv)
    verb = Rotate(
        store=store,
        provider_for=lambda _: provider,
        identities=FakeIdentities(),
        verifier=FakeVerifier(),
        announcer=FakeAnnouncer(),
        now=clock,
    )
    store.write_project("payments", ProjectPolicy(hosts=[HOST]), cas=0)
    for name in ("large", "main"):
        definition = Definition.model_validate({"provider": "basic", "hosts": [HOST]})
        store.write_definition(Reference("payments", name), definition, cas=0)
    kv.faults["write", "credentials/payments/large"] = MalformedError("the document is too large")
    message = Message(project="payments", registries={"large": Reason.NEW, "main": Reason.NEW})
    assert [outcome.done for outcome in verb.run(message, owner="me").outcomes] == [
        Done.FAILING,
        Done.ROTATED,
    ]
    index = store.index("payments")
    assert index is not None
    assert index.value.registries["large"].state is State.FAILING
    assert "too large" in index.value.registries["large"].error
    assert [outcome.done for outcome in verb.run(message, owner="me").outcomes] == [
        Done.DROPPED,
        Done.DROPPED,
    ]
