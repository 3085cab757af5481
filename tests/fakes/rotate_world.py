"""Rotate over fakes, with methods for what users do and for what a test wants to read."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from regcred.registry.parsing import parse
from regcred.registry.secret_destination import destination_text
from regcred.registry_reference import Reference
from regcred.rotate import Outcome, Rotate, RotationResult
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.vault.records.declared import Action, Definition, ProjectPolicy, Request
from regcred.vault.records.index import IndexEntry
from regcred.vault.store import Store

from .cloud import Clock, FakeAnnouncer, FakeIdentities, FakeProvider, FakeVerifier
from .key_value import FakeKeyValue

HOST = "registry.example.com"
PROD = Reference("payments", "prod")


class World:
    """Rotate over fakes, with one registry ``payments/prod``; its fake vendor's credentials live for 12
    hours."""

    def __init__(self, kv: Any = None, **settings: Any) -> None:
        self.clock = Clock()
        self.kv = kv or FakeKeyValue()
        self.store = Store(self.kv)
        self.provider = FakeProvider()
        self.verifier = FakeVerifier()
        self.announcer = FakeAnnouncer()
        self.verb = Rotate(
            store=self.store,
            provider_for=lambda _name: self.provider,
            identities=FakeIdentities(),
            verifier=self.verifier,
            announcer=self.announcer,
            now=self.clock,
            **({"sleep": lambda seconds: self.clock.tick(seconds=seconds)} | settings),
        )
        self.store.write_project("payments", ProjectPolicy(hosts=[HOST]), cas=0)
        self.define(PROD)

    def define(self, reference: Reference, **fields: object) -> None:
        content = {"provider": "basic", "hosts": [HOST]} | fields
        version = self.store.definition_version(reference)
        self.store.write_definition(reference, Definition.model_validate(content), cas=version)

    def enter(self, reference: Reference, **secret: str) -> None:
        """Enter an upstream secret, bound to the hosts of the current definition."""
        found = self.store.definition(reference)
        assert found
        fields = {name: SecretStr(value) for name, value in secret.items()}
        bound_to = destination_text(parse(found.value.content(), where="test"))
        version = self.store.upstream_version(reference)
        self.store.write_upstream(reference, fields, bound_to=bound_to, cas=version)

    def run(
        self, reason: RotationReason = RotationReason.DUE, *names: str, owner: str = "me"
    ) -> list[Outcome]:
        registries = dict.fromkeys(names or ("prod",), reason)
        report = self.verb.run(RotationMessage(project="payments", registries=registries), owner=owner)
        report.check()
        return report.outcomes

    def one(self, reason: RotationReason = RotationReason.DUE) -> RotationResult:
        return self.run(reason)[0].done

    def entry(self, name: str = "prod") -> IndexEntry:
        index = self.store.index("payments")
        assert index
        return index.value.registries[name]

    def ask(self, action: Action) -> None:
        self.store.write_request(PROD, Request(action=action, requested_at=self.clock()))

    def password(self) -> str:
        stored = self.store.credential(PROD)
        assert stored
        return stored.value.password.get_secret_value()
