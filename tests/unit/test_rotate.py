"""Rotate: outcomes, failures, revocations and the order of its writes, over fakes."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from threading import Thread

import pytest
from fakes.cloud import Clock, FakeProvider
from fakes.rotate_world import HOST, PROD, World

from regcred.errors import MalformedError, RefusedError, RegcredError, TooSoonError, TransientError
from regcred.registry.interface import Revoked, SlotName, Slots, Verdict
from regcred.registry_reference import Reference
from regcred.rotate import Announced, Outcome, RotationResult, next_attempt
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.vault.records.declared import Action, Definition, ProjectPolicy
from regcred.vault.records.index import State
from regcred.vault.records.paths import credential_path, index_path, rotation_path


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def rotated(world: World) -> World:
    """The world after the first rotation of its registry."""
    assert world.one(RotationReason.NEW) is RotationResult.ROTATED
    return world


def test_a_new_registry_gets_a_credential_and_an_entry(world: World) -> None:
    outcome = world.run(RotationReason.NEW)[0]
    assert outcome == Outcome(PROD, RotationResult.ROTATED, provider="basic", version=1)
    entry = world.entry()
    assert (entry.state, entry.version, entry.verified, entry.definition_version) == (State.OK, 1, "yes", 1)
    assert entry.hosts == [HOST]
    assert world.password() == "s3cr3t-1"


def test_a_refresh_is_due_at_half_of_the_life_or_up_to_a_tenth_earlier(rotated: World) -> None:
    after = rotated.entry().refresh_at - rotated.clock()
    assert timedelta(hours=5.4) <= after <= timedelta(hours=6)


def test_a_public_registry_is_ok_without_a_credential(world: World) -> None:
    world.define(PROD, provider="public")
    assert world.one(RotationReason.NEW) is RotationResult.UNCHANGED
    entry = world.entry()
    assert (entry.state, entry.version, entry.error) == (State.OK, 0, "")
    assert "needs no credential" in entry.warning
    assert world.provider.contexts == []


def test_a_registry_that_becomes_public_loses_its_credential(rotated: World) -> None:
    rotated.define(PROD, provider="public")
    assert rotated.one(RotationReason.EDITED) is RotationResult.UNCHANGED
    assert rotated.store.credential(PROD) is None
    assert (rotated.entry().state, rotated.entry().version) == (State.REMOVED, 1)
    assert rotated.announcer.events[-1].announced is Announced.REVOKED
    rotated.clock.tick(minutes=5)
    assert rotated.one() is RotationResult.DROPPED


def test_a_message_that_is_delivered_twice_mints_once(rotated: World) -> None:
    assert rotated.one() is RotationResult.DROPPED
    assert len(rotated.provider.contexts) == 1


TOO_SOON = TooSoonError("ask again in 7 minutes", retry_after=timedelta(minutes=7))


def test_a_rotation_that_comes_too_soon_is_answered_without_an_event(rotated: World) -> None:
    before, events = rotated.entry(), list(rotated.announcer.events)
    rotated.provider.error = TOO_SOON
    rotated.ask(Action.ROTATE)
    outcome = rotated.run(RotationReason.REQUESTED)[0]
    assert (outcome.done, outcome.error) == (RotationResult.TOO_SOON, "ask again in 7 minutes")
    answered = {"answer": "ask again in 7 minutes", "changed_at": rotated.entry().changed_at}
    assert rotated.entry() == before.model_copy(update=answered)
    assert rotated.store.request(PROD) is None
    assert rotated.announcer.events == events


@pytest.mark.parametrize("action", list(Action))
def test_the_next_outcome_clears_the_answer(rotated: World, action: Action) -> None:
    rotated.provider.error = TOO_SOON
    rotated.ask(Action.ROTATE)
    rotated.run(RotationReason.REQUESTED)
    rotated.provider.error = TransientError("the vendor is down")
    rotated.ask(action)
    rotated.run(RotationReason.REQUESTED)
    assert rotated.entry().answer == ""


def test_a_rotation_that_comes_too_soon_leaves_an_edited_definition_due(rotated: World) -> None:
    before = rotated.entry()
    rotated.define(PROD, description="new")
    rotated.provider.error = TOO_SOON
    assert rotated.one(RotationReason.EDITED) is RotationResult.TOO_SOON
    assert rotated.entry() == before
    rotated.provider.error = None
    assert rotated.one(RotationReason.EDITED) is RotationResult.ROTATED


def test_a_due_credential_is_replaced(rotated: World) -> None:
    first = rotated.entry()
    rotated.clock.tick(hours=6)
    assert rotated.one() is RotationResult.ROTATED
    second = rotated.entry()
    assert (second.version, second.state) == (2, State.OK)
    assert second.fingerprint != first.fingerprint
    assert rotated.password() == "s3cr3t-2"


def test_two_concurrent_rotations_mint_once(world: World) -> None:
    others: list[RotationResult] = []
    world.provider.meanwhile = lambda: others.append(world.run(RotationReason.NEW, owner="other")[0].done)
    assert world.one(RotationReason.NEW) is RotationResult.ROTATED
    assert others == [RotationResult.BUSY]
    assert len(world.provider.contexts) == 1


def test_a_rotation_that_started_before_another_finished_mints_nothing(world: World) -> None:
    """A claim is written by check-and-set on a version that rotate reads first."""
    read = world.store.rotation
    raced = []

    def rotation_then_race(reference: Reference):
        found = read(reference)
        if not raced:
            raced.append(True)
            thread = Thread(target=world.run, args=(RotationReason.NEW,), kwargs={"owner": "other"})
            thread.start()
            thread.join()
        return found

    world.store.rotation = rotation_then_race
    assert world.run(RotationReason.NEW, owner="me")[0].done in (RotationResult.BUSY, RotationResult.DROPPED)
    assert len(world.provider.contexts) == 1


def test_a_claim_whose_owner_died_is_taken_over_after_its_lease(world: World) -> None:
    world.provider.error = SystemExit()
    with pytest.raises(SystemExit):
        world.run(RotationReason.NEW, owner="dead")
    world.provider.error = None
    assert world.one(RotationReason.NEW) is RotationResult.BUSY
    world.clock.tick(minutes=3)
    assert world.one(RotationReason.NEW) is RotationResult.ROTATED


def test_a_refused_mint_keeps_the_last_good_credential(rotated: World) -> None:
    rotated.clock.tick(hours=6)
    rotated.provider.error = RefusedError("the vendor says no")
    assert rotated.run()[0] == Outcome(
        PROD, RotationResult.FAILING, "basic", version=1, error="the vendor says no", error_kind="refused"
    )
    entry = rotated.entry()
    assert (entry.state, entry.version, entry.attempts) == (State.FAILING, 1, 1)
    assert entry.failing_since == rotated.clock()
    assert rotated.password() == "s3cr3t-1"


def test_a_failing_registry_is_not_tried_before_its_next_attempt(rotated: World) -> None:
    rotated.clock.tick(hours=6)
    rotated.provider.error = TransientError("503")
    rotated.run()
    assert rotated.one() is RotationResult.DROPPED
    rotated.clock.time = rotated.entry().next_attempt_at
    assert rotated.one() is RotationResult.FAILING
    assert rotated.entry().attempts == 2


@pytest.mark.parametrize("error", [TransientError("503"), RefusedError("401")])
def test_a_request_is_recorded_even_if_it_fails_while_a_credential_is_in_force(
    rotated: World, error: Exception
) -> None:
    """So sync restores a deleted Secret with the current credential, even if the rotation fails."""
    rotated.provider.error = error
    rotated.ask(Action.ROTATE)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.FAILING
    assert (rotated.entry().state, rotated.entry().requested_at) == (State.FAILING, rotated.clock())


def test_a_failed_first_request_is_not_recorded(world: World) -> None:
    world.provider.error = RefusedError("401")
    world.ask(Action.ROTATE)
    assert world.one(RotationReason.REQUESTED) is RotationResult.FAILING
    assert world.entry().requested_at is None


def test_success_ends_a_failure(rotated: World) -> None:
    rotated.clock.tick(hours=6)
    rotated.provider.error = TransientError("503")
    rotated.run()
    rotated.provider.error = None
    rotated.clock.tick(hours=1)
    assert rotated.one() is RotationResult.ROTATED
    entry = rotated.entry()
    assert (entry.state, entry.error, entry.attempts, entry.failing_since) == (State.OK, "", 0, None)


def test_an_edited_definition_is_tried_at_once_despite_the_back_off(rotated: World) -> None:
    rotated.clock.tick(hours=6)
    rotated.provider.error = RefusedError("no")
    rotated.run()
    rotated.provider.error = None
    rotated.define(PROD, description="mended")
    assert rotated.one(RotationReason.EDITED) is RotationResult.ROTATED
    assert rotated.entry().definition_version == 2


@pytest.mark.parametrize(
    ("verdict", "static", "done"),
    [
        (Verdict.CAN_PULL, False, RotationResult.ROTATED),
        (Verdict.CAN_PULL, True, RotationResult.ROTATED),
        (Verdict.INCONCLUSIVE, False, RotationResult.FAILING),
        (Verdict.INCONCLUSIVE, True, RotationResult.FAILING),
        (Verdict.REFUSED, False, RotationResult.FAILING),
        (Verdict.REFUSED, True, RotationResult.FAILING),
        (Verdict.WIDER, False, RotationResult.FAILING),
        (Verdict.WIDER, True, RotationResult.ROTATED),
    ],
)
def test_verdicts(world: World, verdict: Verdict, done: RotationResult, *, static: bool) -> None:
    world.verifier.verdict = verdict
    world.provider.life = None if static else timedelta(hours=12)
    assert world.one(RotationReason.NEW) is done
    written = world.store.credential(PROD) is not None
    assert written is (done is RotationResult.ROTATED)
    entry = world.entry()
    if verdict is Verdict.INCONCLUSIVE:
        assert entry.verified == "unknown"
    assert bool(entry.warning) is (written and verdict is Verdict.WIDER)


def test_a_static_credential_that_is_unchanged_is_not_written_again(world: World) -> None:
    world.provider.life = None
    world.provider.password = lambda _number: "same"
    world.run(RotationReason.NEW)
    version = world.store.index_version("payments")
    world.clock.tick(hours=12)
    assert world.one(RotationReason.CHECK) is RotationResult.UNCHANGED
    assert world.entry().version == 1
    assert world.store.index_version("payments") == version
    assert len(world.announcer.events) == 1


def test_a_static_credential_whose_upstream_changed_is_replaced(world: World) -> None:
    world.provider.life = None
    world.run(RotationReason.NEW)
    world.clock.tick(hours=12)
    assert world.one(RotationReason.CHECK) is RotationResult.ROTATED
    assert world.entry().version == 2


def test_a_static_credential_that_stops_working_is_failing_and_kept(world: World) -> None:
    world.provider.life = None
    world.provider.password = lambda _number: "same"
    world.run(RotationReason.NEW)
    world.verifier.verdict = Verdict.REFUSED
    assert world.one(RotationReason.CHECK) is RotationResult.FAILING
    assert world.password() == "same"
    assert (world.entry().state, world.entry().version) == (State.FAILING, 1)


def test_a_crash_between_the_writes_of_credential_and_index_is_repaired_without_minting(world: World) -> None:
    world.kv.faults["write", index_path("payments")] = TransientError("Vault is sealed")
    with pytest.raises(TransientError):
        world.run(RotationReason.NEW)
    world.kv.faults.clear()
    world.clock.tick(minutes=5)
    assert world.one(RotationReason.NEW) is RotationResult.REPAIRED
    assert (world.entry().version, world.entry().definition_version) == (1, 1)
    assert len(world.provider.contexts) == 1
    assert world.one() is RotationResult.DROPPED


def test_a_failed_write_to_vault_does_not_count_as_a_failure_of_the_vendor(rotated: World) -> None:
    rotated.clock.tick(hours=6)
    rotated.kv.faults["write", credential_path(PROD)] = TransientError("Vault is sealed")
    with pytest.raises(TransientError, match="sealed"):
        rotated.run()
    assert (rotated.entry().state, rotated.password()) == (State.OK, "s3cr3t-1")
    rotated.kv.faults.clear()
    rotated.clock.tick(minutes=5)
    assert rotated.one() is RotationResult.ROTATED


def test_a_failed_write_for_one_registry_does_not_stop_the_others(world: World) -> None:
    other = Reference("payments", "other")
    world.define(other)
    world.kv.faults["write", credential_path(other)] = TransientError("Vault hiccup")
    with pytest.raises(TransientError, match="hiccup"):
        world.run(RotationReason.NEW, "prod", "other")
    assert world.entry("prod").version == 1


@pytest.mark.parametrize("error", [RefusedError("no"), TransientError("later"), KeyError("s3cr3t")])
def test_one_failing_vendor_does_not_stop_the_others(world: World, error: Exception) -> None:
    world.define(Reference("payments", "other"), description="other")
    good, bad = FakeProvider(), FakeProvider(error=error)
    providers = {"prod": good, "other": bad}
    mint = FakeProvider.mint

    class ByName(FakeProvider):
        def mint(self, definition, context):
            return mint(providers[context.reference.registry], definition, context)

    world.provider = ByName()
    done = {outcome.reference.registry: outcome for outcome in world.run(RotationReason.NEW, "prod", "other")}
    assert done["prod"].done is RotationResult.ROTATED
    assert done["other"].done is RotationResult.FAILING
    assert "s3cr3t" not in done["other"].error


def test_the_index_is_written_once_for_a_project_and_message(world: World) -> None:
    names = [f"r{number}" for number in range(10)]
    for name in names:
        world.define(Reference("payments", name))
    world.run(RotationReason.NEW, *names)
    writes = [call for call in world.kv.calls if call == ("write", index_path("payments"))]
    assert len(writes) == 1
    assert len(world.store.index("payments").value.registries) == 10


def test_a_host_that_the_project_may_not_use_is_refused_before_the_vendor_is_called(world: World) -> None:
    world.define(PROD, hosts=["elsewhere.example.com"])
    outcome = world.run(RotationReason.NEW)[0]
    assert (outcome.done, outcome.error_kind) == (RotationResult.FAILING, "refused")
    assert "elsewhere.example.com" in outcome.error
    assert not world.provider.contexts


def test_a_project_without_policy_may_use_nothing(world: World) -> None:
    world.kv.delete("platform/projects/payments")
    assert world.one(RotationReason.NEW) is RotationResult.FAILING


def test_an_error_about_a_definition_names_the_field(world: World) -> None:
    world.define(PROD, hots=["x"])
    outcome = world.run(RotationReason.NEW)[0]
    assert outcome.error_kind == "malformed"
    assert "hots" in outcome.error


def test_a_malformed_definition_does_not_count_as_removed(rotated: World) -> None:
    rotated.kv.write("registries/payments/prod", {"document": "{"}, cas=1)
    assert rotated.one(RotationReason.EDITED) is RotationResult.FAILING
    assert rotated.password() == "s3cr3t-1"


def test_a_removed_definition_destroys_the_credential_with_an_event(rotated: World) -> None:
    rotated.store.remove_definition(PROD)
    assert rotated.one(RotationReason.REMOVED) is RotationResult.REMOVED
    assert rotated.entry().state is State.REMOVED
    assert rotated.store.credential(PROD) is None
    assert rotated.store.credential_version(PROD) == 1
    assert rotation_path(PROD) not in rotated.kv.paths()
    assert rotated.announcer.events[-1].announced is Announced.REVOKED


def test_a_definition_that_cannot_be_read_is_not_removed(rotated: World) -> None:
    rotated.kv.faults["read", "registries/payments/prod"] = RefusedError("403")
    with pytest.raises(RefusedError):
        rotated.run(RotationReason.REMOVED)
    rotated.kv.faults.clear()
    assert (rotated.entry().state, rotated.password()) == (State.OK, "s3cr3t-1")


def test_a_registry_that_is_added_again_gets_newer_versions(rotated: World) -> None:
    rotated.store.remove_definition(PROD)
    rotated.run(RotationReason.REMOVED)
    rotated.define(PROD)
    assert rotated.one(RotationReason.NEW) is RotationResult.ROTATED
    assert (rotated.entry().state, rotated.entry().version) == (State.OK, 2)


def test_a_registry_that_is_added_again_and_fails_backs_off(rotated: World) -> None:
    rotated.store.remove_definition(PROD)
    rotated.run(RotationReason.REMOVED)
    rotated.define(PROD)
    rotated.provider.error = RefusedError("no")
    assert rotated.one(RotationReason.NEW) is RotationResult.FAILING
    assert rotated.one(RotationReason.NEW) is RotationResult.DROPPED
    rotated.clock.time = rotated.entry().next_attempt_at
    assert rotated.one(RotationReason.NEW) is RotationResult.FAILING


def test_a_request_for_a_rotation_mints_before_it_is_due(rotated: World) -> None:
    rotated.ask(Action.ROTATE)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.ROTATED
    assert not any(rotated.store.pending_requests("payments"))
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.DROPPED


def test_verify_tries_the_current_credential_and_mints_nothing(rotated: World) -> None:
    rotated.ask(Action.VERIFY)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.VERIFIED
    checked = rotated.verifier.verified[-1]
    assert [login.password.get_secret_value() for login in checked.logins] == ["s3cr3t-1"]
    assert len(rotated.provider.contexts) == 1


@pytest.mark.parametrize("action", [Action.VERIFY, Action.ROTATE])
def test_the_index_records_the_time_of_a_request_so_that_clusters_restore_deleted_secrets(
    rotated: World, action: Action
) -> None:
    rotated.run(RotationReason.CHECK)
    assert rotated.entry().requested_at is None
    rotated.clock.tick(minutes=1)
    rotated.ask(action)
    requested_at = rotated.clock()
    rotated.one(RotationReason.REQUESTED)
    assert rotated.entry().requested_at == requested_at
    rotated.verifier.verdict = Verdict.REFUSED
    rotated.ask(Action.VERIFY)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.FAILING
    assert rotated.entry().requested_at == requested_at, (
        "after a refused verification, sync restores no Secret"
    )


def test_a_credential_that_fails_its_verification_is_replaced(rotated: World) -> None:
    rotated.verifier.verdict = Verdict.REFUSED
    rotated.ask(Action.VERIFY)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.FAILING
    rotated.verifier.verdict = Verdict.CAN_PULL
    rotated.clock.time = rotated.entry().next_attempt_at
    assert rotated.one() is RotationResult.ROTATED


def test_an_exception_in_a_verification_is_a_failure_without_its_text(
    rotated: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify(*_: object) -> None:
        raise KeyError("hunter2")

    rotated.ask(Action.VERIFY)
    monkeypatch.setattr(rotated.verifier, "verify", verify)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.FAILING
    assert "hunter2" not in rotated.entry().error
    assert rotated.password() == "s3cr3t-1"


@pytest.mark.parametrize("ending", [Action.REVOKE, None])
def test_a_malformed_credential_is_destroyed_when_it_is_revoked_or_removed(
    rotated: World, ending: Action | None
) -> None:
    rotated.kv.write(credential_path(PROD), {"password": "hunter2"}, cas=1)
    if ending:
        rotated.ask(ending)
    else:
        rotated.store.remove_definition(PROD)
    rotated.one(RotationReason.REQUESTED)
    assert not rotated.kv._entries[credential_path(PROD)].versions


def test_a_revocation_ends_the_credential_at_the_vendor_in_vault_and_in_the_index(rotated: World) -> None:
    rotated.ask(Action.REVOKE)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.REVOKED
    assert rotated.provider.revocations == ["token-1"]
    assert rotated.store.credential(PROD) is None
    assert (rotated.entry().state, rotated.entry().version) == (State.REVOKED, 1)
    assert rotated.announcer.events[-1].announced is Announced.REVOKED


def test_a_revoked_registry_stays_revoked_until_a_rotation_is_requested(rotated: World) -> None:
    rotated.ask(Action.REVOKE)
    rotated.run(RotationReason.REQUESTED)
    rotated.clock.tick(hours=24)
    rotated.define(PROD, description="edited")
    assert rotated.one(RotationReason.EDITED) is RotationResult.DROPPED
    rotated.ask(Action.ROTATE)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.ROTATED
    assert (rotated.entry().state, rotated.entry().version) == (State.OK, 2)


def test_a_failed_rotation_after_a_revocation_is_tried_again(rotated: World) -> None:
    rotated.ask(Action.REVOKE)
    rotated.run(RotationReason.REQUESTED)
    rotated.clock.tick(minutes=1)
    rotated.ask(Action.ROTATE)
    rotated.provider.error = TransientError("503")
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.FAILING
    assert rotated.entry().state is State.REVOKED
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.DROPPED
    rotated.provider.error = None
    rotated.clock.time = rotated.entry().next_attempt_at
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.ROTATED


def test_a_revocation_takes_effect_while_the_vendor_is_down_and_is_repeated_there(rotated: World) -> None:
    rotated.provider.revoked = TransientError("no route to the vendor")
    rotated.ask(Action.REVOKE)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.REVOKED
    assert rotated.entry().state is State.REVOKED
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.DROPPED
    rotated.provider.revoked = Revoked.YES
    rotated.clock.time = rotated.entry().next_attempt_at
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.REVOKED
    assert rotated.provider.revocations == ["token-1", "token-1"]
    assert rotated.store.credential(PROD) is None
    assert not any(rotated.store.pending_requests("payments"))
    assert [event.announced for event in rotated.announcer.events].count(Announced.REVOKED) == 1


def test_a_revocation_says_that_the_vendor_cannot_revoke(rotated: World) -> None:
    rotated.provider.revoked = Revoked.UNSUPPORTED
    rotated.ask(Action.REVOKE)
    rotated.run(RotationReason.REQUESTED)
    assert "can't revoke it early" in rotated.entry().error
    assert rotated.store.credential(PROD) is None


def test_each_outcome_has_an_event_without_a_secret(rotated: World) -> None:
    rotated.clock.tick(hours=6)
    rotated.provider.error = RefusedError("no")
    rotated.run()
    assert [event.announced for event in rotated.announcer.events] == [Announced.ROTATED, Announced.FAILING]
    assert "s3cr3t" not in repr(rotated.announcer.events)


def test_a_failing_event_bus_does_not_fail_the_rotation(world: World) -> None:
    world.announcer.error = TransientError("no bus")
    assert world.one(RotationReason.NEW) is RotationResult.ROTATED
    assert world.entry().state is State.OK


def test_an_upstream_secret_is_read_only_if_the_definition_needs_it(world: World) -> None:
    world.store.write_project("payments", ProjectPolicy(hosts=[HOST], accounts=["123456789012"]), cas=1)
    ecr = {"provider": "ecr", "regions": ["eu-central-1"], "account": "123456789012"}
    version = world.store.definition_version(PROD)
    world.store.write_definition(PROD, Definition.model_validate(ecr), cas=version)
    world.run(RotationReason.NEW)
    assert not [path for _, path in world.kv.calls if path.startswith("upstream/")]
    world.define(Reference("payments", "other"))
    world.enter(Reference("payments", "other"), username="u")
    world.run(RotationReason.NEW, "other")
    assert world.provider.contexts[-1].upstream["username"].get_secret_value() == "u"


def test_a_provider_saves_its_slots_under_the_claim(world: World) -> None:
    class TwoSlots(FakeProvider):
        def mint(self, definition, context):
            slots = context.slot_store.read()
            states = dict(slots.states) | {"a": {"secret": "n3w"}}
            context.slot_store.write(Slots(states=states, active=slots.active, pending=SlotName.A))
            context.slot_store.write(Slots(states=states, active=SlotName.A))
            return super().mint(definition, context)

    world.provider = TwoSlots()
    assert world.one(RotationReason.NEW) is RotationResult.ROTATED
    kept = world.store.rotation(PROD).value
    assert (kept.active, kept.pending, kept.claim) == ("a", None, None)
    assert kept.slots["a"]["secret"].get_secret_value() == "n3w"


def test_a_minted_credential_that_is_too_wide_is_revoked_at_the_vendor(rotated: World) -> None:
    rotated.clock.tick(hours=6)
    rotated.verifier.verdict = Verdict.WIDER
    assert rotated.one(RotationReason.DUE) is RotationResult.FAILING
    assert rotated.provider.revocations == ["token-2"], "the one in force is token-1"
    assert rotated.password() == "s3cr3t-1"


def test_a_failed_revocation_of_a_refused_credential_keeps_the_first_error(rotated: World) -> None:
    rotated.clock.tick(hours=6)
    rotated.verifier.verdict = Verdict.REFUSED
    rotated.provider.revoked = TransientError("the vendor is away")
    assert rotated.run(RotationReason.DUE)[0].error_kind == "refused"


def test_a_refused_slot_is_kept_until_its_next_renewal(world: World) -> None:
    class OneSlot(FakeProvider):
        def mint(self, definition, context):
            context.slot_store.write(Slots(states={"a": {"secret": "n3w"}}, active=SlotName.A))
            return super().mint(definition, context)

    world.provider = OneSlot()
    world.verifier.verdict = Verdict.WIDER
    assert world.one(RotationReason.NEW) is RotationResult.FAILING
    assert world.provider.revocations == []


def test_a_claim_lost_while_slots_are_saved_does_not_count_as_a_failure(rotated: World) -> None:
    class Slow(FakeProvider):
        def mint(self, definition, context):
            rotated.clock.tick(minutes=3)  # longer than the lease
            rotated.provider = FakeProvider()
            others.append(rotated.run(RotationReason.DUE, owner="other")[0].done)
            context.slot_store.write(Slots(states={"a": {"secret": "n3w"}}, active=SlotName.A))
            return super().mint(definition, context)

    others: list[RotationResult] = []
    rotated.clock.tick(hours=6)
    rotated.provider = Slow()
    assert rotated.one(RotationReason.DUE) is RotationResult.BUSY
    assert others == [RotationResult.ROTATED]
    assert rotated.entry().state is State.OK


def test_no_registry_is_started_after_the_deadline(world: World) -> None:
    message = RotationMessage(project="payments", registries={"prod": RotationReason.NEW})
    (error,) = world.verb.run(message, owner="me", until=world.clock()).errors
    assert "out of time" in str(error)
    assert not world.provider.contexts


def test_a_token_that_the_vendor_had_cached_is_due_at_half_of_its_remaining_life(world: World) -> None:
    class Cached(FakeProvider):
        def mint(self, definition, context):
            made = super().mint(definition, context)
            from dataclasses import replace

            return replace(made, issued_at=context.now() - timedelta(hours=11))

    world.provider = Cached(life=timedelta(hours=1))
    world.run(RotationReason.NEW)
    assert world.entry().refresh_at == world.clock() + timedelta(minutes=30)


def test_a_vendor_that_returns_the_same_token_is_not_called_each_sweep(rotated: World) -> None:
    first = rotated.store.credential(PROD)
    assert first
    left = first.value.expires_at - rotated.clock.tick(hours=6)
    rotated.provider.password = lambda _number: "s3cr3t-1"
    rotated.provider.life = left
    assert rotated.one() is RotationResult.UNCHANGED
    assert rotated.entry().version == 1
    rotated.clock.tick(minutes=5)
    assert rotated.one() is RotationResult.DROPPED


def test_the_back_off_grows_to_a_maximum_and_differs_by_reference() -> None:
    now = Clock()()
    waits = [
        next_attempt(TransientError("503"), attempts=n, reference=PROD, entry=None, now=now) - now
        for n in range(1, 12)
    ]
    assert all(later > earlier for earlier, later in pairwise(waits[:5]))
    assert max(waits) <= timedelta(minutes=30)
    others = {
        next_attempt(
            TransientError("503"), attempts=5, reference=Reference("p", f"r{n}"), entry=None, now=now
        )
        for n in range(50)
    }
    assert len(others) == 50


def test_the_back_off_after_a_refusal_is_longer() -> None:
    now = Clock()()
    refused = next_attempt(RefusedError("no"), attempts=9, reference=PROD, entry=None, now=now) - now
    assert timedelta(hours=4) < refused <= timedelta(hours=6)


@pytest.mark.parametrize("error", [TransientError("503"), RefusedError("no"), MalformedError("bad")])
def test_the_back_off_is_at_most_an_eighth_of_the_life_and_some_jitter(
    rotated: World, error: RegcredError
) -> None:
    now = rotated.clock()
    for attempts in range(1, 20):
        wait = next_attempt(error, attempts=attempts, reference=PROD, entry=rotated.entry(), now=now) - now
        assert wait <= timedelta(hours=12) / 7


def test_retry_after_has_priority_over_the_back_off() -> None:
    now = Clock()()
    error = TransientError("429", retry_after=timedelta(hours=2))
    wait = next_attempt(error, attempts=1, reference=PROD, entry=None, now=now) - now
    assert timedelta(hours=2) <= wait <= timedelta(hours=2.4)


def test_requests_of_a_removed_registry_are_deleted(rotated: World) -> None:
    rotated.ask(Action.REVOKE)
    rotated.store.remove_definition(PROD)
    assert rotated.one(RotationReason.DUE) is RotationResult.REMOVED
    assert not any(rotated.store.pending_requests("payments"))
    rotated.ask(Action.REVOKE)
    assert rotated.one(RotationReason.REQUESTED) is RotationResult.DROPPED
    assert not any(rotated.store.pending_requests("payments"))
