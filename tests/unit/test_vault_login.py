"""How the token of a sign-in to Vault is kept, replaced before it expires, and replaced after a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from regcred.errors import MalformedError, MissingError, RefusedError, RegcredError, TransientError
from regcred.vault.login import TokenLogin, Tokens, VaultToken, cli_token, token_file

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LIFE = timedelta(minutes=30)


@dataclass
class CountingLogin:
    """Returns token 1, 2, 3, …, or raises `error` if it is set."""

    life: timedelta | None = LIFE
    error: RegcredError | None = None
    times: list[datetime] = field(default_factory=list)

    def login(self, client: object, now: datetime) -> VaultToken:
        self.times.append(now)
        if self.error:
            raise self.error
        return VaultToken(SecretStr(str(len(self.times))), now, now + self.life if self.life else None)


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def login() -> CountingLogin:
    return CountingLogin()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(login: CountingLogin, clock: Clock) -> Tokens:
    return Tokens(login, object(), clock)


def test_the_first_use_signs_in_and_keeps_the_token(
    tokens: Tokens, login: CountingLogin, clock: Clock
) -> None:
    assert login.times == []
    assert tokens.token().get_secret_value() == "1"
    clock.now += LIFE * 0.6
    assert tokens.token().get_secret_value() == "1"
    assert len(login.times) == 1


def test_a_new_sign_in_happens_before_the_token_expires(tokens: Tokens, clock: Clock) -> None:
    tokens.token()
    clock.now += LIFE * 0.7
    assert tokens.token().get_secret_value() == "2"


def test_a_valid_token_is_used_while_a_new_sign_in_fails(
    tokens: Tokens, login: CountingLogin, clock: Clock
) -> None:
    tokens.token()
    login.error = TransientError("STS can't be reached")
    clock.now += LIFE * 0.7
    for _ in range(3):
        assert tokens.token().get_secret_value() == "1"
    assert len(login.times) == 2, "not every request tries to sign in"
    clock.now = NOW + LIFE
    with pytest.raises(TransientError, match="STS"):
        tokens.token()
    login.error = None
    assert tokens.token().get_secret_value() == "4"


def test_a_refusal_of_an_older_token_signs_in_once_more(tokens: Tokens, clock: Clock) -> None:
    first = tokens.token()
    clock.now += timedelta(minutes=1)
    assert tokens.renew_refused(first)
    assert tokens.token().get_secret_value() == "2"


def test_a_refusal_of_a_fresh_token_is_a_missing_permission(tokens: Tokens, login: CountingLogin) -> None:
    assert not tokens.renew_refused(tokens.token())
    assert len(login.times) == 1


def test_after_a_refusal_of_a_replaced_token_the_new_one_is_used(
    tokens: Tokens, login: CountingLogin, clock: Clock
) -> None:
    first = tokens.token()
    clock.now += timedelta(minutes=1)
    assert tokens.renew_refused(first)
    assert tokens.renew_refused(first)
    assert len(login.times) == 2


def test_a_users_token_is_read_again_after_a_refusal(clock: Clock) -> None:
    held = ["one"]
    tokens = Tokens(TokenLogin(lambda: SecretStr(held[0])), object(), clock)
    first = tokens.token()
    assert not tokens.renew_refused(first)
    held[0] = "two"
    assert tokens.renew_refused(first)
    assert tokens.token().get_secret_value() == "two"


def test_a_refused_first_sign_in_is_an_error(tokens: Tokens, login: CountingLogin) -> None:
    login.error = RefusedError("the sign-in was refused")
    with pytest.raises(RefusedError):
        tokens.token()


def test_the_token_file_is_read_each_time(tmp_path: Path) -> None:
    read = token_file(tmp_path / "token")
    with pytest.raises(MissingError, match="does the Pod project"):
        read()
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(MalformedError, match="is empty"):
        read()
    (tmp_path / "token").write_text("one\n")
    assert read().get_secret_value() == "one"
    (tmp_path / "token").write_text("two\n")
    assert read().get_secret_value() == "two"


def test_a_users_token_is_found_as_by_the_vault_command(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="vault login"):
        cli_token({}, tmp_path)()
    (tmp_path / ".vault-token").write_text("of-file\n")
    assert cli_token({}, tmp_path)().get_secret_value() == "of-file"
    assert cli_token({"VAULT_TOKEN": "of-environment"}, tmp_path)().get_secret_value() == "of-environment"


@pytest.mark.parametrize("text", ["hunter2\nhunter2", "hunter2 hunter2", "hünter2", "\x7fhunter2"])
def test_a_token_with_invalid_characters_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(MalformedError, match="VAULT_TOKEN") as caught:
        cli_token({"VAULT_TOKEN": text}, tmp_path)()
    assert "nter2" not in str(caught.value)


def test_tokens_are_not_printed() -> None:
    assert "hunter2" not in repr(VaultToken(SecretStr("hunter2"), NOW))


def test_no_sign_in_happens_before_the_time_of_retry_after(
    tokens: Tokens, login: CountingLogin, clock: Clock
) -> None:
    """Many threads wait for one sign-in. Without this, each would send its own to a server that throttles."""
    login.error = TransientError("too many requests", retry_after=timedelta(seconds=60))
    for _ in range(5):
        with pytest.raises(TransientError, match="too many requests"):
            tokens.token()
    assert len(login.times) == 1
    clock.now += timedelta(seconds=20)
    with pytest.raises(TransientError) as caught:
        tokens.token()
    assert caught.value.retry_after == timedelta(seconds=40)
    login.error = None
    clock.now += timedelta(seconds=40)
    assert tokens.token().get_secret_value() == "2"


def test_a_valid_token_is_used_until_the_time_of_retry_after(
    tokens: Tokens, login: CountingLogin, clock: Clock
) -> None:
    tokens.token()
    login.error = TransientError("too many requests", retry_after=timedelta(seconds=120))
    clock.now += LIFE * 0.7
    for _ in range(4):
        assert tokens.token().get_secret_value() == "1"
        clock.now += timedelta(seconds=30)
    assert len(login.times) == 2
