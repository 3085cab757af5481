"""People sign in to the console with a password, on real servers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from regcred.adapters.console_vault import ConsoleVault
from regcred.console.interface import Method, SignInKind, WrongPasswordError
from regcred.errors import RefusedError

from .conftest import Real

PASSWORD = "correct horse"


@pytest.fixture
def people(real: Real) -> Iterator[Method]:
    """A sign-in method with the person alice."""
    mount = f"people-{uuid.uuid4().hex[:8]}"
    real.vault.call("POST", f"sys/auth/{mount}", {"type": "userpass"})
    try:
        real.vault.call("POST", f"auth/{mount}/users/alice", {"password": PASSWORD})
        yield Method(SignInKind.USERPASS, mount=mount)
    finally:
        real.vault.call("DELETE", f"sys/auth/{mount}")


@pytest.fixture
def second_factor(real: Real, people: Method) -> Iterator[None]:
    """Vault requires a second factor for this sign-in method."""
    accessor = real.vault.call("GET", "sys/auth")["data"][f"{people.mount}/"]["accessor"]
    made = real.vault.call("POST", "identity/mfa/method/totp", {"issuer": "regcred"})["data"]["method_id"]
    try:
        enforcement = {"mfa_method_ids": [made], "auth_method_accessors": [accessor]}
        real.vault.call("POST", f"identity/mfa/login-enforcement/{people.mount}", enforcement)
        try:
            yield
        finally:
            real.vault.call("DELETE", f"identity/mfa/login-enforcement/{people.mount}")
    finally:
        real.vault.call("DELETE", f"identity/mfa/method/totp/{made}")


@pytest.fixture
def sign_in(real: Real, people: Method) -> Callable[[str, str], SecretStr]:
    console = ConsoleVault(real.server, "regcred")
    return lambda name, password: console.by_password(people, name, SecretStr(password))


def test_a_person_signs_in_under_their_name(real: Real, sign_in: Callable[[str, str], SecretStr]) -> None:
    who = ConsoleVault(real.server, "regcred").with_token(sign_in("alice", PASSWORD)).who()
    assert who.name == "alice"


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("nobody", PASSWORD)])
def test_a_wrong_name_or_password_is_a_wrong_password_error(
    sign_in: Callable[[str, str], SecretStr], name: str, password: str
) -> None:
    with pytest.raises(WrongPasswordError):
        sign_in(name, password)


@pytest.mark.usefixtures("second_factor")
def test_the_error_names_the_second_factor_and_not_the_password(
    sign_in: Callable[[str, str], SecretStr],
) -> None:
    with pytest.raises(RefusedError, match="Vault asks for a second factor") as caught:
        sign_in("alice", PASSWORD)
    assert not isinstance(caught.value, WrongPasswordError)
