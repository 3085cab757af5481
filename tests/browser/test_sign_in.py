"""Signing in by each method, and what is said when that fails."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from playwright.sync_api import expect

from console import seed, serving
from console.serving import Served
from regcred.console.cookies import SESSION
from regcred.console.interface import Method, SignInKind, Ticket

from .conftest import Person

pytestmark = pytest.mark.real


def test_signs_in_by_password(arrives):
    person = arrives()
    person.signs_in("alice")
    expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(person.page.locator(".who")).to_contain_text("alice")


def test_a_wrong_password_is_told_and_the_name_stays(arrives):
    person = arrives()
    person.signs_in("alice", "wrong")
    expect(person.page.get_by_role("alert")).to_have_text("The user name or the password is wrong.")
    expect(person.page.locator("details[open]").get_by_label("user name")).to_have_value("alice")


def token_of(fleet: seed.Seeded, name: str, **wanted: object) -> str:
    body = {"password": seed.PASSWORD}
    token = fleet.vault.call("POST", f"auth/userpass/login/{name}", body, token="")["auth"]["client_token"]
    if wanted:
        return str(fleet.vault.call("POST", "auth/token/create", dict(wanted))["auth"]["client_token"])
    return str(token)


def by_token(person: Person, token: str) -> None:
    person.goes("/sign-in")
    form = person.page.locator("details", has_text="With a Vault token")
    form.locator("summary").click()
    form.get_by_label("Vault token").fill(token)
    form.get_by_role("button", name="Sign in").click()


def test_signs_in_by_token(arrives, fleet):
    person = arrives()
    by_token(person, token_of(fleet, "alice"))
    expect(person.page.get_by_role("link", name="payments/tools")).to_be_visible()


@pytest.mark.parametrize(
    "token", ["s.0123456789abcdefghijklmn", "not a token", "'\"><script>alert(1)</script>"]
)
def test_a_token_that_vault_does_not_know_is_told(arrives, token):
    person = arrives()
    by_token(person, token)
    expect(person.page.get_by_role("alert")).to_be_visible()
    expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_token_is_nowhere_in_the_browser(arrives, fleet):
    person = arrives()
    token = token_of(fleet, "alice")
    by_token(person, token)
    expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()
    kept = json.dumps(person.page.context.storage_state()) + person.page.content()
    assert token not in kept
    assert person.page.evaluate("document.cookie") == ""


@pytest.fixture(scope="session")
def provider(fleet: seed.Seeded, served: Served) -> None:
    """Vault's own OIDC provider as the identity provider of Vault's OIDC method."""
    call = fleet.vault.call
    issuer = f"{fleet.vault.addr}/v1/identity/oidc/provider/default"
    callback = f"{served.origin}/sign-in/oidc/callback"
    call("POST", "identity/oidc/key/default", {"allowed_client_ids": ["*"]})
    call("POST", "identity/oidc/assignment/everybody", {"entity_ids": entity_ids(fleet)})
    call(
        "POST",
        "identity/oidc/scope/user",
        {"template": '{"username": {{identity.entity.name}}}'},
    )
    call(
        "POST", "identity/oidc/provider/default", {"scopes_supported": ["user"], "allowed_client_ids": ["*"]}
    )
    redirects = [f"{fleet.vault.addr}/ui/vault/auth/oidc/oidc/callback", callback]
    call(
        "POST",
        "identity/oidc/client/regcred",
        {"redirect_uris": redirects, "assignments": ["everybody"], "key": "default"},
    )
    client = call("GET", "identity/oidc/client/regcred")["data"]
    if "oidc/" not in call("GET", "sys/auth")["data"]:
        call("POST", "sys/auth/oidc", {"type": "oidc"})
    call(
        "POST",
        "auth/oidc/config",
        {
            "oidc_discovery_url": issuer,
            "oidc_client_id": client["client_id"],
            "oidc_client_secret": client["client_secret"],
            "default_role": "console",
        },
    )
    call(
        "POST",
        "auth/oidc/role/console",
        {
            "role_type": "oidc",
            "user_claim": "username",
            "oidc_scopes": ["user"],
            "allowed_redirect_uris": [callback],
            "token_policies": ["regcred-admins-payments"],
        },
    )


def entity_ids(fleet: seed.Seeded) -> list[str]:
    return [fleet.vault.call("GET", f"identity/entity/name/{name}")["data"]["id"] for name in seed.PEOPLE]


def consent(fleet: seed.Seeded, name: str, url: str) -> str:
    """Do what the server's own pages do, because a HashiCorp Vault built from its Go module has no pages.

    Returns the address of the console to which they send the browser.
    """
    asked = dict(parse_qsl(urlsplit(url).query))
    path = f"identity/oidc/provider/default/authorize?{urlencode(asked)}"
    answer = fleet.vault.call("GET", path, token=token_of(fleet, name))
    return f"{asked['redirect_uri']}?{urlencode({'code': answer['code'], 'state': asked['state']})}"


def test_signs_in_by_single_sign_on_and_lands_where_it_was_going(arrives, provider, fleet):
    person = arrives(strict=False)
    page = person.goes("/clusters")
    page.get_by_role("link", name="Sign in with single sign-on").click()
    page.wait_for_url(fleet.vault.addr + "/ui/**")
    if fleet.vault.is_hashicorp:
        page.goto(consent(fleet, "alice", page.url))
    else:
        page.get_by_label("Method").select_option("userpass")
        page.get_by_label("Username").fill("alice")
        page.get_by_label("Password").fill(seed.PASSWORD)
        page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(person.origin + "/clusters")
    expect(page.locator(".who")).to_contain_text("alice")
    assert [url for url in person.foreign if not url.startswith(fleet.vault.addr)] == []


def test_single_sign_on_that_is_not_set_up_is_told(arrives, fleet):
    nowhere = Method(SignInKind.OIDC, mount="nowhere")
    with serving.served(fleet.vault.addr, methods=(nowhere,)) as other:
        person = arrives(to=other)
        person.goes("/sign-in")
        person.page.get_by_role("link", name="Sign in with single sign-on").click()
        expect(person.page.get_by_role("alert")).to_contain_text("Vault")


def test_an_answer_that_was_not_begun_here_is_refused(arrives):
    person = arrives()
    person.goes("/sign-in/oidc/callback?state=st_forged&code=forged")
    expect(person.page.get_by_role("alert")).to_contain_text("not started in this browser")


def test_signing_out_ends_the_token_in_vault(arrives, fleet):
    person = arrives()
    token = token_of(fleet, "alice", policies=["default"], ttl="1h")
    by_token(person, token)
    person.page.get_by_role("button", name="Sign out").click()
    expect(person.page.get_by_role("status")).to_have_text("You are signed out.")
    with pytest.raises(Exception, match="403"):
        fleet.vault.call("GET", "auth/token/lookup-self", token=token)
    person.goes("/")
    expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_session_that_was_idle_too_long_asks_to_sign_in_and_goes_on_there(arrives, fleet):
    with serving.served(fleet.vault.addr, idle=timedelta(seconds=2)) as short:
        person = arrives(to=short)
        person.signs_in("alice")
        person.page.wait_for_url(short.origin + "/")
        time.sleep(2.2)
        person.goes("/projects/payments")
        expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()
        form = person.page.locator("details[open]")
        form.get_by_label("user name").fill("alice")
        form.get_by_label("password").fill(seed.PASSWORD)
        form.get_by_role("button", name="Sign in").click()
        person.page.wait_for_url(short.origin + "/projects/payments")


@pytest.fixture
def laptop(fleet: seed.Seeded) -> Iterator[tuple[Served, str]]:
    """`regcred console`: over plain HTTP, with a ticket for alice's token."""
    from pydantic import SecretStr

    token = token_of(fleet, "alice")
    with serving.served(
        fleet.vault.addr, tls=False, ticket=Ticket("the-ticket", lambda: SecretStr(token))
    ) as local:
        yield local, token


def test_the_ticket_of_the_laptop_works_once_and_signing_out_leaves_the_token(arrives, laptop, fleet):
    local, token = laptop
    person = arrives(to=local)
    person.goes("/sign-in/ticket?ticket=wrong")
    expect(person.page.get_by_role("alert")).to_contain_text("works only once")
    person.goes("/sign-in/ticket?ticket=the-ticket")
    expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()
    assert any(cookie["name"] == SESSION for cookie in person.page.context.cookies())
    other = arrives(to=local)
    other.goes("/sign-in/ticket?ticket=the-ticket")
    expect(other.page.get_by_role("alert")).to_contain_text("works only once")
    person.page.get_by_role("button", name="Sign out").click()
    expect(person.page.get_by_role("status")).to_be_visible()
    assert fleet.vault.call("GET", "auth/token/lookup-self", token=token)["data"]
