"""Slots A and B: after a crash or a second rotation at any step, the credential works and no token is left
over upstream."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from contract.registry.harness import Bench, vendor_id
from fakes.claims import Held, Vault
from fakes.vendors.aws import Aws
from fakes.vendors.gitea import Gitea
from fakes.vendors.harbor import Harbor, HarborSystem
from fakes.vendors.network import CutError, Network, Request, Response
from fakes.vendors.nexus import Nexus
from fakes.vendors.tokens import DockerHubOrganisation, Gitlab, TokenKeeper
from fakes.vendors.vendor import Vendor

from regcred.credential import Credential
from regcred.errors import ConflictError, RegcredError
from regcred.registry.interface import Revoked, Verdict

IN_TURN: tuple[type[Vendor], ...] = (DockerHubOrganisation, Gitea, Gitlab, Harbor, HarborSystem, Nexus)
ONE_OF_EACH_KIND: tuple[type[Vendor], ...] = (Harbor, Nexus)
STEPS = range(14)
"""More steps than a rotation of any vendor has; a step that does not exist changes nothing. The unit tests
try every combination in memory. These tests use the API of the vendor."""


class CrashError(Exception):
    """Ends the process at this point."""


class Turns:
    """Rotations of one registry, which can be disturbed at one of their steps."""

    def __init__(self, bench: Bench, network: Network) -> None:
        self.bench = bench
        self.vault = Vault()
        self._network = network
        self._countdown = -1
        self._disturb: Callable[[], None] = lambda: None

    def disturb(self, at: int, how: Callable[[], None]) -> None:
        """Call ``how`` at step ``at``.

        A step is before and after each write of slots and each upstream request.
        """
        self._countdown, self._disturb = at, how

    def rotate_disturbed(self, at: int, how: Callable[[], None]) -> None:
        """Rotate, and call ``how`` at step ``at``."""
        self.disturb(at, how)
        with contextlib.suppress(CrashError, RegcredError):
            self.rotate()
        self._countdown = -1

    def step(self) -> None:
        self._countdown -= 1
        if self._countdown == -1:
            self._disturb()

    def upstream(self, request: Request, answer: Callable[[Request], Response]) -> Response:
        try:
            self.step()
            response = answer(request)
            self.step()
        except CrashError:
            raise CutError from None
        return response

    def rotate(self) -> None:
        self.bench.vendor.clock.advance(timedelta(hours=1))
        vault = self.vault
        held, version = Held(vault, self.step), vault.version
        in_force = vault.credential.revocation_id if vault.credential else ""
        credential = self.bench.mint(in_force=in_force, slot_store=held)
        if vault.version != version:
            raise ConflictError("another run wrote a credential")
        vault.credential, vault.version = credential, version + 1

    def works(self) -> bool:
        """Whether the vendor accepts the credential in force. It sends no request: requests are steps."""
        if self.vault.credential is None:
            return True
        (login,) = self.vault.credential.logins
        check: Callable[..., object] = self.bench.vendor.check
        return check("", login.username, login.password.get_secret_value()) is not None


@pytest.fixture(params=IN_TURN, ids=vendor_id)
def turns(
    request: pytest.FixtureRequest, network: Network, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> Turns:
    vendor: Vendor = request.param(network, aws)
    found = Turns(Bench(vendor), network)
    answer = network.answer
    api = {"hub.docker.com", "gitea.example.com", "gitlab.com", "harbor.example.com", "nexus.example.com"}

    def watched(call: Request) -> Response:
        minting = call.host in api and not call.path.startswith(
            ("/v2/team", "/v2/token", "/jwt", "/service/token")
        )
        return found.upstream(call, answer) if minting and call.path != "/v2/" else answer(call)

    monkeypatch.setattr(network, "answer", watched)
    return found


def assert_no_leftover_tokens(turns: Turns) -> None:
    vendor = turns.bench.vendor
    if isinstance(vendor, TokenKeeper):
        assert len(vendor.kept) <= 2, sorted(item.name for item in vendor.kept.values())


def test_the_slots_take_turns_and_the_old_one_works_until_its_next_turn(turns: Turns) -> None:
    seen: list[Credential] = []
    for _ in range(5):
        turns.rotate()
        assert turns.vault.credential is not None
        seen.append(turns.vault.credential)
        verdicts = [turns.bench.verify(item).verdict for item in seen]
        assert verdicts[-2:] == [Verdict.CAN_PULL] * min(2, len(seen))
        assert set(verdicts[:-2]) <= {Verdict.REFUSED}
        assert_no_leftover_tokens(turns)


ONE_OF_EACH = pytest.mark.parametrize("turns", ONE_OF_EACH_KIND, ids=vendor_id, indirect=True)


@ONE_OF_EACH
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_leaves_a_working_credential_and_no_leftover(turns: Turns, step: int) -> None:
    turns.rotate()
    turns.rotate()

    def crash() -> None:
        raise CrashError

    turns.rotate_disturbed(step, crash)
    assert turns.works(), "the crash broke what clusters use"
    turns.rotate()
    assert turns.works()
    assert_no_leftover_tokens(turns)


@ONE_OF_EACH
@pytest.mark.parametrize("step", STEPS)
def test_a_second_rotation_at_any_step_leaves_a_working_credential_and_no_leftover(
    turns: Turns, step: int
) -> None:
    turns.rotate()
    turns.rotate()
    turns.rotate_disturbed(step, turns.rotate)
    assert turns.works(), "one of the two broke what the other had written"
    turns.rotate()
    assert turns.works()
    assert_no_leftover_tokens(turns)


def test_a_revoked_credential_is_refused_and_the_next_one_works(turns: Turns) -> None:
    turns.rotate()
    turns.rotate()
    revoked = turns.vault.credential
    assert revoked is not None
    assert turns.bench.revoke(revoked) is Revoked.YES
    assert turns.bench.verify(revoked).verdict is Verdict.REFUSED
    turns.vault.credential = None
    turns.rotate()
    assert turns.works()
    assert_no_leftover_tokens(turns)


@pytest.mark.parametrize(
    "turns", [item for item in IN_TURN if issubclass(item, TokenKeeper)], ids=vendor_id, indirect=True
)
def test_tokens_of_others_stay(turns: Turns) -> None:
    vendor = turns.bench.vendor
    assert isinstance(vendor, TokenKeeper)
    vendor.keep("4711", "somebody-else's", "other", vendor.clock.time() + 9999, ["*"])
    vendor.keep("4712", "regcred-payments-main-0badf00d-a-1", "twin", vendor.clock.time() + 9999, ["*"])
    for _ in range(3):
        turns.rotate()
    assert {"4711", "4712"} <= set(vendor.kept), "another installation's tokens, or a person's"
