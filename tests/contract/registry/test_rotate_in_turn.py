"""The verb rotate over real providers and the real verifier: slots through Vault's own documents."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from contract.registry.harness import REFERENCE, vendor_id
from fakes.cloud import FakeAnnouncer
from fakes.key_value import FakeKeyValue
from fakes.vendors.aws import Aws
from fakes.vendors.gitea import Gitea
from fakes.vendors.harbor import Harbor, HarborSystem
from fakes.vendors.network import Network, status
from fakes.vendors.nexus import Nexus
from fakes.vendors.oci import Rights
from fakes.vendors.tokens import DockerHubOrganisation, Gitlab, TokenKeeper
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
    """One registry at one vendor, rotated by the verb."""

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

    def due(self) -> RotationResult:
        """The next rotation, when its time has come."""
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

    def accepted(self) -> bool:
        stored = self.store.credential(REFERENCE)
        assert stored is not None
        check = self.vendor.check
        return check("", stored.value.username, stored.value.password.get_secret_value()) is not None

    def ask(self, action: Action) -> None:
        self.store.write_request(REFERENCE, Request(action=action, asked_at=self.now()))


@pytest.fixture(params=[DockerHubOrganisation, Gitea, Gitlab, Harbor, HarborSystem, Nexus], ids=vendor_id)
def world(request: pytest.FixtureRequest, network: Network, aws: Aws) -> World:
    return World(request.param(network, aws))


def test_rotations_take_turns_through_vaults_documents(world: World) -> None:
    assert world.run(RotationReason.NEW) is RotationResult.ROTATED, world.entry.error
    for version in (2, 3, 4):
        assert world.due() is RotationResult.ROTATED, world.entry.error
        assert (world.entry.state, world.entry.version, world.entry.verified) == (State.OK, version, "yes")
        assert world.accepted()
    if isinstance(world.vendor, TokenKeeper):
        assert len(world.vendor.kept) == 2


def test_a_vendor_that_fails_keeps_what_is_in_force_and_leaves_nothing(
    world: World, network: Network
) -> None:
    world.run(RotationReason.NEW)
    for _ in range(3):
        network.fail(world.vendor.calls, status(503), times=1)
        assert world.due() is RotationResult.FAILING
        assert world.accepted()
    assert world.due() is RotationResult.ROTATED, world.entry.error
    assert world.accepted()
    if isinstance(world.vendor, TokenKeeper):
        assert len(world.vendor.kept) <= 2


def test_what_may_push_is_not_written_and_the_last_good_one_stays(world: World) -> None:
    world.run(RotationReason.NEW)
    world.vendor.widen()
    assert world.due() is RotationResult.FAILING
    assert "push" in world.entry.error
    assert world.entry.version == 1
    assert world.accepted()


def test_a_turn_that_is_asked_for_too_soon_is_no_failure(world: World) -> None:
    world.run(RotationReason.NEW)
    world.due()
    version, events = world.entry.version, len(world.announcer.events)
    world.vendor.clock.advance(timedelta(minutes=3))
    world.ask(Action.ROTATE)
    soon = world.run(RotationReason.ASKED)
    if isinstance(world.vendor, TokenKeeper):
        assert soon is RotationResult.ROTATED
        return
    assert soon is RotationResult.TOO_SOON
    assert (world.entry.state, world.entry.version, world.entry.error) == (State.OK, version, "")
    assert "password is 3 minutes old" in world.entry.answer
    assert "try again in 7 minutes" in world.entry.answer
    assert world.store.request(REFERENCE) is None
    assert len(world.announcer.events) == events
    assert world.accepted()
    world.vendor.clock.advance(timedelta(minutes=7))
    world.ask(Action.ROTATE)
    assert world.run(RotationReason.ASKED) is RotationResult.ROTATED
    assert (world.entry.state, world.entry.version, world.entry.answer) == (State.OK, version + 1, "")


def test_an_edited_definition_is_acted_on_by_itself_once_its_turn_may_come(world: World) -> None:
    world.run(RotationReason.NEW)
    world.due()
    before = world.entry
    world.vendor.clock.advance(timedelta(minutes=3))
    edited = Definition.model_validate({**world.vendor.definition, "description": "new"})
    world.store.write_definition(REFERENCE, edited, cas=1)
    if not isinstance(world.vendor, TokenKeeper):
        assert world.run(RotationReason.EDITED) is RotationResult.TOO_SOON
        assert world.entry == before
        world.vendor.clock.advance(timedelta(minutes=7))
    assert world.run(RotationReason.EDITED) is RotationResult.ROTATED
    assert world.entry.definition_version == 2


def test_revoking_ends_all_upstream_and_a_rotation_starts_anew(world: World) -> None:
    world.run(RotationReason.NEW)
    world.due()
    before = world.store.credential(REFERENCE)
    assert before is not None
    world.ask(Action.REVOKE)
    assert world.run(RotationReason.ASKED) is RotationResult.REVOKED
    check = world.vendor.check
    assert check("", before.value.username, before.value.password.get_secret_value()) is None
    if isinstance(world.vendor, TokenKeeper):
        assert world.vendor.kept == {}
    world.ask(Action.ROTATE)
    assert world.run(RotationReason.ASKED) is RotationResult.ROTATED, world.entry.error
    assert world.accepted()


def late(vendor: type[Vendor], seconds: float) -> type[Vendor]:
    """A vendor whose registry knows a new login only some seconds after it was first tried."""

    class Late(vendor):  # type: ignore[misc,valid-type]
        def check(self, host: str, username: str, password: str) -> Rights | None:
            tried: dict[tuple[str, str], datetime] = self.__dict__.setdefault("tried", {})
            first = tried.setdefault((username, password), self.clock.now())
            if self.clock.now() - first < timedelta(seconds=seconds):
                return None
            found: Rights | None = super().check(host, username, password)
            return found

    return Late


@pytest.mark.parametrize("vendor", [Harbor, Gitlab, DockerHubOrganisation, Nexus], ids=vendor_id)
def test_a_vendor_that_knows_a_new_credential_seconds_later_is_asked_again(
    vendor: type[Vendor], network: Network, aws: Aws
) -> None:
    world = World(late(vendor, 3)(network, aws))
    assert world.run(RotationReason.NEW) is RotationResult.ROTATED, world.entry.error
    for _ in range(3):
        assert world.due() is RotationResult.ROTATED, world.entry.error
        assert world.accepted()
    if isinstance(world.vendor, TokenKeeper):
        assert len(world.vendor.kept) <= 2


@pytest.mark.parametrize("vendor", [Harbor, Gitlab], ids=vendor_id)
def test_a_vendor_that_never_knows_it_is_asked_for_some_seconds_and_keeps_no_orphans(
    vendor: type[Vendor], network: Network, aws: Aws
) -> None:
    world = World(late(vendor, 3_600)(network, aws))
    before = world.now()
    assert world.run(RotationReason.NEW) is RotationResult.FAILING
    assert timedelta(seconds=5) <= world.now() - before <= timedelta(seconds=20)
    for _ in range(5):
        assert world.due() is RotationResult.FAILING
    assert isinstance(world.vendor, TokenKeeper)
    assert len(world.vendor.kept) <= 2
