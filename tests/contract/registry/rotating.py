"""The verb rotate with a real provider and the real verifier. The slots are in documents of a Vault."""

from __future__ import annotations

from datetime import datetime, timedelta

from contract.registry.harness import REFERENCE
from fakes.cloud import FakeAnnouncer
from fakes.key_value import FakeKeyValue
from fakes.vendors.aws import Aws
from fakes.vendors.vendor import ProjectIdentity, Vendor
from pydantic import SecretStr

from regcred.registry.catalog import provider_for
from regcred.registry.interface import Identity
from regcred.registry.parsing import parse
from regcred.registry.secret_destination import destination_text
from regcred.registry.verify import RegistryVerifier
from regcred.rotate import Rotate, RotationResult
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.vault.records.declared import Action, Definition, ProjectPolicy, Request
from regcred.vault.records.index import State
from regcred.vault.store import Store


class Identities:
    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def of(self, project: str, policy: ProjectPolicy) -> Identity:
        return ProjectIdentity(self._aws)


class World:
    """One registry at one vendor, and the verb rotate."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.store = Store(FakeKeyValue())
        self.now = vendor.clock.now
        self.announcer = FakeAnnouncer()
        self.verb = Rotate(
            store=self.store,
            provider_for=provider_for,
            identities=Identities(vendor.aws),
            verifier=RegistryVerifier(),
            announcer=self.announcer,
            now=self.now,
            sleep=lambda seconds: vendor.clock.advance(timedelta(seconds=seconds)) and None,
        )
        hosts = ["docker.io", "gitlab.com", "registry.gitlab.com", "*.example.com", "*.example.com:8443"]
        self.store.write_project("payments", ProjectPolicy(hosts=hosts), cas=0)
        upstream = {name: SecretStr(value) for name, value in vendor.upstream.items()}
        definition = parse(vendor.definition, where="test")
        self.store.write_upstream(REFERENCE, upstream, bound_to=destination_text(definition), cas=0)
        self.store.write_definition(REFERENCE, Definition.model_validate(vendor.definition), cas=0)

    def run(self, reason: RotationReason = RotationReason.DUE) -> RotationResult:
        report = self.verb.run(RotationMessage(project="payments", registries={"main": reason}), owner="me")
        report.check()
        return report.outcomes[0].done

    def run_when_due(self) -> RotationResult:
        """Advance the clock to the next rotation or attempt, and run it."""
        entry = self.entry
        when: datetime | None = entry.next_attempt_at if entry.state is State.FAILING else entry.refresh_at
        assert when is not None
        self.vendor.clock.advance(when - self.now() + timedelta(seconds=1))
        return self.run()

    @property
    def entry(self):
        index = self.store.index("payments")
        assert index is not None
        return index.value.registries["main"]

    def vendor_accepts(self) -> bool:
        stored = self.store.credential(REFERENCE)
        assert stored is not None
        check = self.vendor.check
        return check("", stored.value.username, stored.value.password.get_secret_value()) is not None

    def request(self, action: Action) -> None:
        self.store.write_request(REFERENCE, Request(action=action, requested_at=self.now()))
