"""The selftest with a vendor and a registry in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from regcred.cli.app import run
from regcred.cli.session import CliSession
from regcred.credential import Credential, Login
from regcred.errors import RefusedError, TransientError
from regcred.registry.interface import IssuedCredential, MintContext, Revoked, Verdict, Verification
from regcred.registry.parsing import parse
from regcred.registry.providers.gitea import GiteaDefinition
from regcred.registry.token_slots import MemorySlotStore
from regcred.selftest import (
    CheckResult,
    SelftestCheck,
    SelftestParts,
    SelftestPlanError,
    SelftestReport,
    plan,
)

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
SECRET = "s3cret-of-the-minted-token"
UPSTREAM = "s3cret-of-the-maker"
GITEA = {"provider": "gitea", "host": "git.example.com", "user": "bot", "repositories": ["team/"]}
PULLS = Verification(Verdict.CAN_PULL, "team/app:1 can be pulled; push is not granted", login_accepted=True)
PUSHES = Verification(Verdict.WIDER, "team/app:1 can be pulled, but pushed too", login_accepted=True)
REFUSED = Verification(Verdict.REFUSED, "pulling team/app:1 was refused with 401")
SILENT = Verification(Verdict.INCONCLUSIVE, "git.example.com: no answer")


@dataclass
class Vendor:
    """A provider, its registry and a clock."""

    name = "gitea"
    model = GiteaDefinition
    now: datetime = NOW
    life: timedelta | None = timedelta(hours=12)
    mint_error: Exception | None = None
    revoke_answer: Revoked | Exception = Revoked.YES
    verdict: Callable[[timedelta], Verification] = lambda _after: PULLS
    """The registry's verdict on a credential that was not revoked, by the time since the mint."""
    interrupt_at: timedelta | None = None
    revoked: list[IssuedCredential] = field(default_factory=list)
    tried: list[timedelta] = field(default_factory=list)
    slot_stores: set[int] = field(default_factory=set)

    def mint(self, _definition: Any, context: MintContext) -> Credential:
        self.slot_stores.add(id(context.slot_store))
        if self.mint_error:
            raise self.mint_error
        return Credential(
            provider=self.name,
            logins=(Login("bot", SecretStr(SECRET), ("git.example.com/team/",)),),
            issued_at=self.now,
            expires_at=self.now + self.life if self.life else None,
            revocation_id="7",
        )

    def revoke(self, _definition: Any, issued: IssuedCredential, context: MintContext) -> Revoked:
        self.slot_stores.add(id(context.slot_store))
        if isinstance(self.revoke_answer, Exception):
            raise self.revoke_answer
        self.revoked.append(issued)
        return self.revoke_answer

    def verify(self, _definition: Any, _credential: Credential) -> Verification:
        if self.revoke_answer is Revoked.YES and self.revoked:
            return REFUSED
        self.tried.append(self.now - NOW)
        return self.verdict(self.now - NOW)

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        if self.interrupt_at and self.now - NOW >= self.interrupt_at:
            raise KeyboardInterrupt


@dataclass
class Desk:
    vendor: Vendor
    folder: Path
    capture: pytest.CaptureFixture[str]
    definition: dict[str, Any] = field(default_factory=lambda: GITEA | {"probe": "team/app:1"})

    def __call__(self, *words: str, code: int = 0) -> str:
        vendor, slots = self.vendor, MemorySlotStore()
        session = CliSession(
            open_store=lambda: pytest.fail("the selftest asked for a Vault"),
            selftest_parts=lambda _provider, _reference, _role, say: SelftestParts(
                vendor, None, vendor, slots, lambda: vendor.now, vendor.sleep, say
            ),
        )
        (self.folder / "definition.yaml").write_text(json.dumps(self.definition))
        (self.folder / "secret.yaml").write_text(json.dumps({"username": "bot", "password": UPSTREAM}))
        (self.folder / "secret.yaml").chmod(0o600)
        line = ["selftest", "-f", str(self.folder / "definition.yaml")]
        found = run([*line, "--secret-file", str(self.folder / "secret.yaml"), *words], session)
        self.out, self.err = self.capture.readouterr()
        assert found == code, self.err
        assert SECRET not in self.out + self.err
        assert UPSTREAM not in self.out + self.err
        return self.out

    def checks(self, *words: str, code: int = 0) -> dict[str, str]:
        found = json.loads(self(*words, "-o", "json", code=code))
        return {item["check"]: item["result"] for item in found["checks"]}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(Vendor(), tmp_path, capsys)


def test_a_good_definition_passes_and_its_credential_is_revoked(desk: Desk) -> None:
    assert desk.checks() == {
        "mint": "passed",
        "pull": "passed",
        "nothing more": "passed",
        "revoke": "passed",
        "refused after the revocation": "passed",
    }
    assert len(desk.vendor.revoked) == 1
    assert len(desk.vendor.slot_stores) == 1, "the revocation uses the slots of the mint"


def test_the_report_is_a_markdown_table(desk: Desk) -> None:
    text = desk()
    assert "### Selftest of provider gitea" in text
    assert "| pull | 0s | passed |" in text
    assert "result: passed" in text
    assert "git.example.com/team/" in text


def test_a_credential_is_tried_until_the_end_of_the_given_time(desk: Desk) -> None:
    desk("--for", "40m", "--every", "15m")
    assert desk.vendor.tried == [timedelta(minutes=at) for at in (0, 15, 30, 40)]


def test_a_credential_that_ends_with_its_session_fails_with_the_time(desk: Desk) -> None:
    """This is the main purpose of the command: to detect tokens that end with a chained session of one
    hour."""
    desk.vendor.verdict = lambda after: PULLS if after < timedelta(hours=1) else REFUSED
    found = json.loads(desk("--for", "90m", "--every", "20m", "-o", "json", code=1))
    failed = [item for item in found["checks"] if item["result"] == "failed"]
    assert [(item["check"], item["after_seconds"]) for item in failed] == [("pull", 3600)]
    assert desk.vendor.revoked


def test_a_credential_that_is_refused_after_its_expiry_passes(desk: Desk) -> None:
    desk.vendor.life = timedelta(minutes=20)
    desk.vendor.verdict = lambda after: PULLS if after < timedelta(minutes=20) else REFUSED
    assert desk.checks("--for", "30m")["refused after its expiry"] == "passed"


def test_a_credential_that_works_after_its_expiry_fails(desk: Desk) -> None:
    desk.vendor.life = timedelta(minutes=20)
    assert desk.checks("--for", "30m", code=1)["refused after its expiry"] == "failed"


def test_a_refused_mint_fails_with_the_vendors_reason(desk: Desk) -> None:
    desk.vendor.mint_error = RefusedError(
        "git.example.com refused the password: check that the user bot exists"
    )
    text = desk(code=1)
    assert "| mint | 0s | failed | refused: git.example.com refused the password" in text
    assert desk.vendor.tried == []
    assert desk.vendor.revoked == []


def test_an_unexpected_exception_shows_its_place_and_not_its_text(desk: Desk) -> None:
    desk.vendor.mint_error = ValueError(SECRET)
    assert "unexpected ValueError at test_selftest.py:" in desk(code=1)


def test_a_refused_pull_fails_after_some_retries_and_revokes_the_credential(desk: Desk) -> None:
    desk.vendor.verdict = lambda _after: REFUSED
    found = desk.checks("--for", "2h", code=1)
    assert found["pull"] == "failed"
    assert "nothing more" not in found
    assert desk.vendor.tried[-1] == timedelta(seconds=15), "after the refusal, it does not wait the two hours"
    assert desk.vendor.revoked


def test_a_credential_may_work_only_after_some_seconds(desk: Desk) -> None:
    desk.vendor.verdict = lambda after: PULLS if after >= timedelta(seconds=3) else REFUSED
    assert desk.checks()["pull"] == "passed"


def test_an_accepted_push_is_a_failure(desk: Desk) -> None:
    desk.vendor.verdict = lambda _after: PUSHES
    found = desk.checks(code=1)
    assert (found["pull"], found["nothing more"]) == ("passed", "failed")
    assert "nothing more" in desk.err
    assert desk.vendor.revoked


def test_an_unreachable_registry_proves_nothing(desk: Desk) -> None:
    desk.vendor.verdict = lambda _after: SILENT
    assert desk.checks(code=1)["pull"] == "unproven"
    assert "could not prove everything: pull" in desk.err


def test_an_unsupported_revocation_is_no_failure_and_says_when_the_credential_expires(desk: Desk) -> None:
    desk.vendor.revoke_answer = Revoked.UNSUPPORTED
    text = desk()
    assert "not-offered" in text
    assert "it works until 2026-11-30T00:00+00:00" in text


def test_a_failed_revocation_says_when_the_credential_expires(desk: Desk) -> None:
    desk.vendor.revoke_answer = TransientError("git.example.com did not answer")
    text = desk(code=1)
    assert "| revoke | 0s | failed | transient: git.example.com did not answer; it works until" in text


def test_the_upstream_secret_itself_is_never_revoked(desk: Desk) -> None:
    """At GitHub, a revocation would end the user's own token."""
    desk.vendor.life = None
    assert desk.checks()["revoke"] == "not-run"
    assert desk.vendor.revoked == []


def test_an_interrupt_revokes_the_credential_and_prints_the_report(desk: Desk) -> None:
    desk.vendor.interrupt_at = timedelta(minutes=20)
    found = desk.checks("--for", "90m", code=1)
    assert found["wait"] == "unproven"
    assert found["revoke"] == "passed"


def test_a_secret_in_a_vendors_message_is_masked(desk: Desk) -> None:
    desk.vendor.verdict = lambda _after: Verification(Verdict.REFUSED, f"401 {SECRET} {UPSTREAM}|x")
    assert "401 *** ***\\|x" in desk(code=1)


def test_each_line_of_a_secret_key_is_masked() -> None:
    from regcred.selftest.report import secret_texts

    key = "-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----"
    check = SelftestCheck("mint", CheckResult.FAILED, "line abcdefgh is wrong")
    report = SelftestReport("gar", "v", NOW, NOW, "a:1", [], [check], secrets=secret_texts([key]))
    assert "abcdefgh" not in report.text() + json.dumps(report.document())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"provider": "public", "hosts": ["ghcr.io"]}, "public"),
        (GITEA, "probe: is missing"),
        (
            {
                "provider": "nexus",
                "server": "nexus.example.com",
                "hosts": ["nexus.example.com:5000"],
                "users": ["pull-a", "pull-b"],
                "probe": "team/app:1",
            },
            "replaces the passwords of pull-a and pull-b",
        ),
    ],
    ids=["public", "no probe", "passwords in use"],
)
def test_a_definition_that_cannot_be_tested_is_refused_before_any_call(
    content: dict[str, Any], message: str
) -> None:
    with pytest.raises(SelftestPlanError, match=message):
        plan(parse(content, where="here"), wait=timedelta(0), every=timedelta(minutes=15))


def test_passwords_are_replaced_only_with_an_option() -> None:
    content = {"provider": "nexus", "server": "nexus.example.com", "hosts": ["nexus.example.com:5000"]}
    definition = parse(content | {"users": ["test-a", "test-b"], "probe": "team/app:1"}, where="here")
    assert plan(definition, wait=timedelta(0), every=timedelta(1), replace_passwords=True).tries == (
        timedelta(0),
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--for", "90"], "--for: '90' is not a time"),
        (["--for", "25h"], "at most 24h"),
        (["--for", "0m"], "is not a time"),
        (["--for", "24h", "--every", "1s"], "more than 200 tries"),
        (["--provider", "ecr"], "the file names another provider"),
        (["--provider", "nobody"], "the providers are"),
    ],
)
def test_an_error_about_a_wrong_option_names_it(desk: Desk, words: list[str], message: str) -> None:
    desk(*words, code=2)
    assert message in desk.err


def test_a_keyless_definition_requires_a_role(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ecr.yaml"
    file.write_text("regions: [eu-central-1]\nprobe: team/app:1\n")
    assert run(["selftest", "--provider", "ecr", "-f", str(file)], CliSession()) == 2
    assert "--role-arn" in capsys.readouterr().err
