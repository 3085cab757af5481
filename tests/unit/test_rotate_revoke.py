"""Revocations: what they end, what they report, and which provider gets the credential."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from fakes.rotate_world import HOST, PROD, World

from regcred.registry.interface import Revoked, Verdict
from regcred.registry_reference import Reference
from regcred.rotate import RotationResult
from regcred.rotation_message import RotationReason
from regcred.vault.records.declared import Action, Definition, ProjectPolicy
from regcred.vault.records.index import IndexEntry, State


def rotated(*, life: timedelta | None) -> World:
    """A registry with its first credential."""
    world = World()
    world.provider.life = life
    assert world.one(RotationReason.NEW) is RotationResult.ROTATED
    return world


def revoke(world: World) -> IndexEntry:
    world.ask(Action.REVOKE)
    assert world.one(RotationReason.REQUESTED) is RotationResult.REVOKED
    entry = world.entry()
    assert entry.state is State.REVOKED
    return entry


@pytest.mark.parametrize(
    ("life", "message"), [(timedelta(hours=12), "it works until 2026-11-25T00:00"), (None, "change it there")]
)
def test_an_unsupported_revocation_says_how_long_the_credential_works(
    life: timedelta | None, message: str
) -> None:
    world = rotated(life=life)
    world.provider.revoked = Revoked.UNSUPPORTED
    assert message in revoke(world).error


def test_another_vendor_than_the_credentials_is_not_called() -> None:
    world = rotated(life=None)
    world.store.change_project("payments", lambda _: ProjectPolicy(hosts=[HOST, "ghcr.io"]))
    ghcr = Definition.model_validate({"provider": "ghcr"})
    world.store.write_definition(PROD, ghcr, cas=world.store.definition_version(PROD))
    assert "provider basic created it" in revoke(world).error
    assert world.provider.revocations == []


def test_the_provider_gets_the_credential_and_its_id() -> None:
    world = rotated(life=timedelta(hours=12))
    revoke(world)
    (issued,) = world.provider.ended
    assert issued.revocation_id == "token-1"
    assert issued.password is not None
    assert issued.password.get_secret_value() == "s3cr3t-1"
    assert "s3cr3t-1" not in repr(issued)


OTHER = "other.example.com"


def allow(world: World, *hosts: str) -> None:
    world.store.change_project("payments", lambda _: ProjectPolicy(hosts=[HOST, *hosts]))


def test_the_provider_of_a_definition_with_a_new_destination_gets_the_id_only() -> None:
    world = rotated(life=timedelta(hours=12))
    allow(world, OTHER)
    world.define(PROD, hosts=[OTHER])
    revoke(world)
    (issued,) = world.provider.ended
    assert (issued.revocation_id, issued.password) == ("token-1", None)


def test_the_provider_of_a_deleted_and_recreated_definition_gets_the_id_only() -> None:
    world = rotated(life=timedelta(hours=12))
    allow(world, OTHER)
    world.kv.delete("registries/payments/prod")
    world.define(PROD, hosts=[OTHER])
    found = world.store.definition(PROD)
    stored = world.store.credential(PROD)
    assert found
    assert stored
    assert found.version == stored.value.definition_version, "the version alone does not show the change"
    revoke(world)
    assert [issued.password for issued in world.provider.ended] == [None]


def test_after_a_change_without_a_new_destination_the_provider_gets_the_credential() -> None:
    world = rotated(life=timedelta(hours=12))
    world.define(PROD, description="new", probe="team/app:1.0")
    revoke(world)
    (issued,) = world.provider.ended
    assert issued.password is not None


@pytest.mark.parametrize("change", [{"hosts": [OTHER]}, {"realm_hosts": [OTHER]}])
def test_a_credential_is_not_sent_to_a_new_destination_for_verification(
    change: dict[str, list[str]],
) -> None:
    world = rotated(life=timedelta(hours=12))
    allow(world, OTHER)
    verified = len(world.verifier.verified)
    world.define(PROD, **change)
    world.ask(Action.VERIFY)
    assert world.one(RotationReason.REQUESTED) is RotationResult.UNVERIFIED
    assert len(world.verifier.verified) == verified
    assert "another destination" in world.entry().answer


def test_a_static_login_with_a_new_destination_is_bound_to_that_destination() -> None:
    world = rotated(life=None)
    world.provider.password = lambda _number: "s3cr3t-1"
    allow(world, OTHER)
    world.define(PROD, realm_hosts=[OTHER])
    assert world.one(RotationReason.EDITED) is RotationResult.ROTATED
    world.ask(Action.VERIFY)
    assert world.one(RotationReason.REQUESTED) is RotationResult.VERIFIED


def test_a_refused_credential_is_revoked_with_its_password() -> None:
    world = World()
    world.verifier.verdict = Verdict.WIDER
    world.one(RotationReason.NEW)
    (issued,) = world.provider.ended
    assert issued.password is not None


def test_a_revocation_says_until_when_existing_pull_tokens_work() -> None:
    world = rotated(life=timedelta(hours=12))
    changed = Definition.model_validate({"provider": "harbor", "host": HOST, "harbor_project": "team"})
    world.store.write_definition(PROD, changed, cas=world.store.definition_version(PROD))
    world.enter(PROD, username="admin", password="secret")
    assert world.one(RotationReason.EDITED) is RotationResult.ROTATED
    assert "pull tokens that were issued before work until 2026-11-24T12:30" in revoke(world).error


class TestMalformedIndexEntry:
    """A malformed entry must not count as the missing entry of a new registry: the credential may be
    revoked."""

    def corrupt(self, world: World, content: object) -> None:
        path = "credentials/payments/_index"
        document = json.loads(world.kv.read(path).fields["document"])
        document["registries"]["prod"] = content
        world.kv.write(path, {"document": json.dumps(document)}, cas=world.kv.version(path))

    @pytest.mark.parametrize(
        "content",
        [
            {"state": "revoked", "version": "x"},
            {"state": "revoked"},
            {"state": "rev"},
            None,
            [],
            "revoked",
            7,
        ],
    )
    def test_a_revoked_credential_stays_revoked(self, content: object) -> None:
        world = rotated(life=timedelta(hours=12))
        revoke(world)
        self.corrupt(world, content)
        assert world.one(RotationReason.NEW) is RotationResult.REVOKED
        assert world.entry().state is State.REVOKED
        assert len(world.provider.contexts) == 1

    def test_a_revoked_credential_stays_revoked_after_a_rotation_of_another_registry(self) -> None:
        world = rotated(life=timedelta(hours=12))
        revoke(world)
        self.corrupt(world, {"state": "unheard"})
        world.define(Reference("payments", "other"))
        world.run(RotationReason.NEW, "other")
        assert world.one(RotationReason.NEW) is RotationResult.REVOKED

    def test_a_request_for_a_rotation_gives_a_new_credential(self) -> None:
        world = rotated(life=timedelta(hours=12))
        revoke(world)
        self.corrupt(world, None)
        world.ask(Action.ROTATE)
        assert world.one(RotationReason.REQUESTED) is RotationResult.ROTATED

    def test_an_entry_of_a_credential_in_force_is_repaired(self) -> None:
        world = rotated(life=timedelta(hours=12))
        self.corrupt(world, {"state": "unheard"})
        assert world.one(RotationReason.NEW) is RotationResult.REPAIRED
        assert world.entry().state is State.OK

    def test_a_removed_registry_that_is_added_again_is_rotated(self) -> None:
        world = rotated(life=timedelta(hours=12))
        world.kv.delete("registries/payments/prod")
        assert world.one(RotationReason.REMOVED) is RotationResult.REMOVED
        self.corrupt(world, {"state": "removed", "version": -1, "changed_at": "never"})
        world.define(PROD)
        assert world.one(RotationReason.NEW) is RotationResult.ROTATED

    def test_a_registry_without_a_definition_is_removed(self) -> None:
        world = rotated(life=timedelta(hours=12))
        revoke(world)
        self.corrupt(world, "?")
        world.kv.delete("registries/payments/prod")
        assert world.one(RotationReason.REMOVED) is RotationResult.REMOVED
        assert world.entry().state is State.REMOVED
