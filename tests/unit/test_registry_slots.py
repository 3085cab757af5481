"""A/B slots in memory, with a crash or a second rotation at each step."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fakes.claims import Held, Vault
from pydantic import SecretStr

from regcred.errors import ConflictError, RegcredError, TooSoonError, TransientError
from regcred.registry.interface import MintContext, SlotName, Slots
from regcred.registry.token_slots import OVERLAP, NamedToken, end_tokens, lock_users, renew_token, renew_user
from regcred.registry_reference import Reference

USERS = ("pull-a", "pull-b")
STEPS = range(16)
"""More steps than a rotation has; a disturbance at a step that does not exist has no effect."""


pytestmark = pytest.mark.no_cover  # hundreds of tests run the same steps


class CrashError(Exception):
    """A crash of the process."""


@dataclass
class World(Vault):
    """Vault's documents of one registry, and a disturbance at one step."""

    in_force: NamedToken | None = None
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    countdown: int = -1
    disturb: Callable[[], None] = lambda: None

    def step(self) -> None:
        self.countdown -= 1
        if self.countdown == -1:
            self.disturb()

    def disturbed(self, at: int, how: Callable[[], None], rotation: Callable[[], None]) -> None:
        self.countdown, self.disturb = at, how
        try:
            with contextlib.suppress(CrashError, RegcredError):
                rotation()
        finally:
            self.countdown = -1


class Tokens:
    """A vendor with named tokens."""

    name_max = 255
    location = "vendor team"

    def at(self, location: str) -> Tokens | None:
        return None

    def __init__(self, world: World) -> None:
        self.world = world
        self.kept: dict[str, tuple[str, str]] = {"1": ("a-person's", "x")}

    def tokens(self) -> Mapping[str, str]:
        self.world.step()
        found = {token_id: name for token_id, (name, _) in self.kept.items()}
        self.world.step()
        return found

    def create(self, name: str) -> NamedToken:
        self.world.step()
        token = NamedToken(secrets.token_hex(4), "puller", SecretStr(secrets.token_hex(8)), None)
        self.kept[token.id] = (name, token.secret.get_secret_value())
        self.world.step()
        return token

    def remove(self, token_id: str) -> None:
        self.world.step()
        self.kept.pop(token_id, None)
        self.world.step()

    def accepts(self, token: NamedToken) -> bool:
        return self.kept.get(token.id, ("", ""))[1] == token.secret.get_secret_value()

    def leftovers(self) -> int:
        return len(self.kept) - 1


class Users:
    """A vendor with two users."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.passwords = dict.fromkeys(USERS, "old")

    def set_password(self, user: str, password: SecretStr) -> None:
        self.world.step()
        self.passwords[user] = password.get_secret_value()
        self.world.step()

    def lock_out(self, user: str, password: SecretStr) -> None:
        self.set_password(user, password)

    def accepts(self, token: NamedToken) -> bool:
        return self.passwords[token.username] == token.secret.get_secret_value()

    def leftovers(self) -> int:
        return 0


def context(world: World, held: Held | None) -> MintContext:
    return MintContext(
        reference=Reference("payments", "main"),
        now=lambda: world.now,
        identity=None,
        upstream={},
        in_force=world.in_force.id if world.in_force else "",
        slot_store=held,
    )


@dataclass
class Turns:
    world: World
    vendor: Any

    def rotate(self, *, after: timedelta = timedelta(days=1)) -> None:
        self.world.now += after
        held, version = Held(self.world, self.world.step), self.world.version
        mint_context = context(self.world, held)
        token = (
            renew_token(self.vendor, mint_context)
            if isinstance(self.vendor, Tokens)
            else renew_user(self.vendor, USERS, mint_context)
        )
        self.world.step()
        if self.world.version != version:
            raise ConflictError("another rotation has written a credential")
        self.world.in_force, self.world.version = token, version + 1

    def works(self) -> bool:
        return self.world.in_force is None or self.vendor.accepts(self.world.in_force)


@pytest.fixture(params=[Tokens, Users], ids=["tokens", "users"])
def new_turns(request: pytest.FixtureRequest) -> Callable[[], Turns]:
    """Return a function that starts with a new vendor and empty documents."""

    def start() -> Turns:
        world = World()
        return Turns(world, request.param(world))

    return start


@pytest.fixture
def turns(new_turns: Callable[[], Turns]) -> Turns:
    return new_turns()


def crash() -> None:
    raise CrashError


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_crash_at_any_step_leaves_a_working_credential_and_no_leftover(
    new_turns: Callable[[], Turns], before: int
) -> None:
    for step in STEPS:
        turns = new_turns()
        for _ in range(before):
            turns.rotate()
        turns.world.disturbed(step, crash, turns.rotate)
        assert turns.works(), f"after a crash at step {step}, the credential in clusters no longer works"
        for _ in range(2):
            turns.rotate()
            assert turns.works(), step
            assert turns.vendor.leftovers() <= 2, step


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_second_rotation_at_any_step_leaves_a_working_credential_and_no_leftover(
    new_turns: Callable[[], Turns], before: int
) -> None:
    for step in STEPS:
        turns = new_turns()
        for _ in range(before):
            turns.rotate()
        turns.world.disturbed(step, turns.rotate, turns.rotate)
        assert turns.world.in_force is not None
        assert turns.works(), f"at step {step}, one rotation ends the credential of the other"
        turns.rotate()
        assert turns.works(), step
        assert turns.vendor.leftovers() <= 2, step


@pytest.mark.parametrize("first", STEPS)
def test_a_crash_after_a_lost_claim_leaves_no_leftover(new_turns: Callable[[], Turns], first: int) -> None:
    for then in STEPS:
        turns = new_turns()
        turns.rotate()
        turns.rotate()
        turns.world.disturbed(first, _overtaken(turns, then), turns.rotate)
        turns.rotate()
        turns.rotate()
        assert turns.works(), then
        assert turns.vendor.leftovers() <= 2, then


def _overtaken(turns: Turns, then: int) -> Callable[[], None]:
    """Return a disturbance: another rotation, and a crash at a later step."""

    def disturb() -> None:
        turns.rotate()
        turns.world.countdown, turns.world.disturb = then, crash

    return disturb


def test_the_previous_credential_works_until_its_slot_is_renewed(turns: Turns) -> None:
    turns.rotate()
    first = turns.world.in_force
    assert first is not None
    turns.rotate()
    assert turns.vendor.accepts(first), "clusters may still use it"
    turns.rotate()
    assert not turns.vendor.accepts(first)


def test_a_failing_vendor_leaves_the_current_credential(turns: Turns) -> None:
    turns.rotate()

    def fail() -> None:
        raise TransientError("no answer")

    for step in STEPS:
        turns.world.disturbed(step, fail, turns.rotate)
        assert turns.works()


def test_lost_slots_leave_the_current_credential(turns: Turns) -> None:
    for _ in range(2):
        turns.rotate()
        turns.world.slots = Slots()
        turns.rotate()
        assert turns.works()


def test_without_a_slot_store_a_token_is_still_created(turns: Turns) -> None:
    mint_context = context(turns.world, None)
    vendor = turns.vendor
    tokens = isinstance(vendor, Tokens)
    token = renew_token(vendor, mint_context) if tokens else renew_user(vendor, USERS, mint_context)
    assert vendor.accepts(token)


def test_revoking_ends_the_previous_credential_too(turns: Turns) -> None:
    turns.rotate()
    first = turns.world.in_force
    turns.rotate()
    second = turns.world.in_force
    assert first is not None
    assert second is not None
    if isinstance(turns.vendor, Tokens):
        end_tokens(turns.vendor, second.id, context(turns.world, Held(turns.world, turns.world.step)))
    else:
        lock_users(turns.vendor, USERS)
    assert not turns.vendor.accepts(first)
    assert not turns.vendor.accepts(second)
    turns.world.in_force = None
    turns.rotate()
    assert turns.works()
    assert turns.vendor.leftovers() <= 2


def test_revoking_without_a_slot_store_ends_that_token_only() -> None:
    world = World()
    turns = Turns(world, Tokens(world))
    turns.rotate()
    assert world.in_force is not None
    end_tokens(turns.vendor, world.in_force.id, context(world, None))
    assert list(turns.vendor.kept) == ["1"]


def test_tokens_of_people_are_not_touched() -> None:
    world = World()
    turns = Turns(world, Tokens(world))
    for _ in range(4):
        turns.rotate()
    assert "1" in turns.vendor.kept


def test_the_password_of_a_user_is_saved_in_vault_before_it_is_set() -> None:
    world = World()
    turns = Turns(world, Users(world))

    world.disturbed(2, crash, turns.rotate)
    assert turns.vendor.passwords == dict.fromkeys(USERS, "old")
    assert world.slots.pending is SlotName.A
    assert world.slots.states[SlotName.A]["password"]


def test_revoking_does_not_touch_another_token_with_the_same_id() -> None:
    """This happens if a definition changes to another server, where a person's token has the id."""
    world = World()
    vendor = Tokens(world)
    end_tokens(vendor, "1", context(world, None))
    assert list(vendor.kept) == ["1"]


MINUTE = timedelta(minutes=1)


def test_a_token_works_for_the_overlap_however_often_it_is_renewed() -> None:
    world = World()
    turns = Turns(world, Tokens(world))
    seen = []
    for _ in range(4):
        turns.rotate(after=MINUTE)
        assert world.in_force is not None
        seen.append(world.in_force)
    assert all(map(turns.vendor.accepts, seen))
    turns.rotate(after=OVERLAP)
    assert [turns.vendor.accepts(token) for token in seen] == [False, False, False, True]
    turns.rotate()
    assert turns.vendor.leftovers() == 2


def test_a_password_is_not_replaced_within_the_overlap() -> None:
    world = World()
    turns = Turns(world, Users(world))
    turns.rotate()
    first = world.in_force
    turns.rotate(after=MINUTE)
    second = world.in_force
    with pytest.raises(
        TooSoonError,
        match="the other user's password is 1 minute old, and clusters may still use this one; try again in "
        "9 minutes",
    ) as caught:
        turns.rotate(after=MINUTE)
    assert caught.value.retry_after == OVERLAP - MINUTE
    assert turns.vendor.accepts(first)
    assert world.in_force is second
    turns.rotate(after=OVERLAP)
    assert not turns.vendor.accepts(first)
    assert turns.works()


def test_after_a_revocation_the_next_password_does_not_wait() -> None:
    world = World()
    turns = Turns(world, Users(world))
    turns.rotate()
    turns.rotate()
    lock_users(turns.vendor, USERS)
    world.in_force = None
    turns.rotate(after=MINUTE)
    assert turns.works()


def test_a_credential_that_is_lost_in_vault_keeps_working_in_clusters(turns: Turns) -> None:
    turns.rotate()
    turns.rotate()
    used = turns.world.in_force
    assert used is not None
    turns.world.in_force = None
    turns.rotate()
    assert turns.vendor.accepts(used)
    assert turns.works()
