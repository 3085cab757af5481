"""Rotate with the real providers and the real verifier. The slots are in documents of a Vault."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from contract.registry.harness import REFERENCE, vendor_id
from contract.registry.rotating import World
from fakes.vendors.aws import Aws
from fakes.vendors.gitea import Gitea
from fakes.vendors.harbor import Harbor, HarborSystem
from fakes.vendors.network import Network, status
from fakes.vendors.nexus import Nexus
from fakes.vendors.oci import Rights
from fakes.vendors.tokens import DockerHubOrganisation, Gitlab, TokenKeeper
from fakes.vendors.vendor import Vendor

from regcred.rotate import RotationResult
from regcred.rotation_message import RotationReason
from regcred.vault.records.declared import Action, Definition
from regcred.vault.records.index import State


@pytest.fixture(params=[DockerHubOrganisation, Gitea, Gitlab, Harbor, HarborSystem, Nexus], ids=vendor_id)
def world(request: pytest.FixtureRequest, network: Network, aws: Aws) -> World:
    return World(request.param(network, aws))


def test_rotations_use_the_slots_in_turn(world: World) -> None:
    assert world.run(RotationReason.NEW) is RotationResult.ROTATED, world.entry.error
    for version in (2, 3, 4):
        assert world.run_when_due() is RotationResult.ROTATED, world.entry.error
        assert (world.entry.state, world.entry.version, world.entry.verified) == (State.OK, version, "yes")
        assert world.vendor_accepts()
    if isinstance(world.vendor, TokenKeeper):
        assert len(world.vendor.kept) == 2


def test_a_failing_vendor_leaves_the_last_credential_working_and_no_orphans(
    world: World, network: Network
) -> None:
    world.run(RotationReason.NEW)
    for _ in range(3):
        network.fail(world.vendor.calls, status(503), times=1)
        assert world.run_when_due() is RotationResult.FAILING
        assert world.vendor_accepts()
    assert world.run_when_due() is RotationResult.ROTATED, world.entry.error
    assert world.vendor_accepts()
    if isinstance(world.vendor, TokenKeeper):
        assert len(world.vendor.kept) <= 2


def test_a_credential_that_can_push_is_not_written_and_the_last_one_stays(world: World) -> None:
    world.run(RotationReason.NEW)
    world.vendor.widen()
    assert world.run_when_due() is RotationResult.FAILING
    assert "push" in world.entry.error
    assert world.entry.version == 1
    assert world.vendor_accepts()


def test_a_rotation_that_is_requested_too_soon_is_not_a_failure(world: World) -> None:
    world.run(RotationReason.NEW)
    world.run_when_due()
    version, events = world.entry.version, len(world.announcer.events)
    world.vendor.clock.advance(timedelta(minutes=3))
    world.request(Action.ROTATE)
    soon = world.run(RotationReason.REQUESTED)
    if isinstance(world.vendor, TokenKeeper):
        assert soon is RotationResult.ROTATED
        return
    assert soon is RotationResult.TOO_SOON
    assert (world.entry.state, world.entry.version, world.entry.error) == (State.OK, version, "")
    assert "password is 3 minutes old" in world.entry.answer
    assert "try again in 7 minutes" in world.entry.answer
    assert world.store.request(REFERENCE) is None
    assert len(world.announcer.events) == events
    assert world.vendor_accepts()
    world.vendor.clock.advance(timedelta(minutes=7))
    world.request(Action.ROTATE)
    assert world.run(RotationReason.REQUESTED) is RotationResult.ROTATED
    assert (world.entry.state, world.entry.version, world.entry.answer) == (State.OK, version + 1, "")


def test_an_edited_definition_is_rotated_as_soon_as_its_slot_may_change(world: World) -> None:
    world.run(RotationReason.NEW)
    world.run_when_due()
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


def test_revoking_ends_every_upstream_secret_and_a_later_rotation_works(world: World) -> None:
    world.run(RotationReason.NEW)
    world.run_when_due()
    before = world.store.credential(REFERENCE)
    assert before is not None
    world.request(Action.REVOKE)
    assert world.run(RotationReason.REQUESTED) is RotationResult.REVOKED
    check = world.vendor.check
    assert check("", before.value.username, before.value.password.get_secret_value()) is None
    if isinstance(world.vendor, TokenKeeper):
        assert world.vendor.kept == {}
    world.request(Action.ROTATE)
    assert world.run(RotationReason.REQUESTED) is RotationResult.ROTATED, world.entry.error
    assert world.vendor_accepts()


def late(vendor: type[Vendor], seconds: float) -> type[Vendor]:
    """A vendor whose registry accepts a new login only some seconds after the first try."""

    class Late(vendor):
        def check(self, host: str, username: str, password: str) -> Rights | None:
            tried: dict[tuple[str, str], datetime] = self.__dict__.setdefault("tried", {})
            first = tried.setdefault((username, password), self.clock.now())
            if self.clock.now() - first < timedelta(seconds=seconds):
                return None
            found: Rights | None = super().check(host, username, password)
            return found

    return Late


@pytest.mark.parametrize("vendor", [Harbor, Gitlab, DockerHubOrganisation, Nexus], ids=vendor_id)
def test_a_new_credential_that_works_only_after_seconds_is_tried_again(
    vendor: type[Vendor], network: Network, aws: Aws
) -> None:
    world = World(late(vendor, 3)(network, aws))
    assert world.run(RotationReason.NEW) is RotationResult.ROTATED, world.entry.error
    for _ in range(3):
        assert world.run_when_due() is RotationResult.ROTATED, world.entry.error
        assert world.vendor_accepts()
    if isinstance(world.vendor, TokenKeeper):
        assert len(world.vendor.kept) <= 2


@pytest.mark.parametrize("vendor", [Harbor, Gitlab], ids=vendor_id)
def test_a_new_credential_that_never_works_fails_after_seconds_and_leaves_no_orphans(
    vendor: type[Vendor], network: Network, aws: Aws
) -> None:
    world = World(late(vendor, 3_600)(network, aws))
    before = world.now()
    assert world.run(RotationReason.NEW) is RotationResult.FAILING
    assert timedelta(seconds=5) <= world.now() - before <= timedelta(seconds=20)
    for _ in range(5):
        assert world.run_when_due() is RotationResult.FAILING
    assert isinstance(world.vendor, TokenKeeper)
    assert len(world.vendor.kept) <= 2
