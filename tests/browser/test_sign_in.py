"""Signing in by each method, and the page when that fails."""

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


def test_signs_in_by_password(open_browser):
    person = open_browser()
    person.sign_in("alice")
    expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(person.page.locator(".who")).to_contain_text("alice")


def test_reports_a_wrong_password_and_keeps_the_name(open_browser):
    person = open_browser()
    person.sign_in("alice", "wrong")
    expect(person.page.get_by_role("alert")).to_have_text("The user name or the password is wrong.")
    expect(person.page.locator("details[open]").get_by_label("user name")).to_have_value("alice")


def new_token(fleet: seed.Seeded, name: str, **options: object) -> str:
    """Sign in as a person. With options, create a token with the root token instead."""
    body = {"password": seed.PASSWORD}
    token = fleet.vault.call("POST", f"auth/userpass/login/{name}", body, token="")["auth"]["client_token"]
    if options:
        return str(fleet.vault.call("POST", "auth/token/create", dict(options))["auth"]["client_token"])
    return str(token)


def sign_in_by_token(person: Person, token: str) -> None:
    person.visit("/sign-in")
    form = person.page.locator("details", has_text="With a Vault token")
    form.locator("summary").click()
    form.get_by_label("Vault token").fill(token)
    form.get_by_role("button", name="Sign in").click()


def test_signs_in_by_token(open_browser, fleet):
    person = open_browser()
    sign_in_by_token(person, new_token(fleet, "alice"))
    expect(person.page.get_by_role("link", name="payments/tools")).to_be_visible()


@pytest.mark.parametrize(
    "token", ["s.0123456789abcdefghijklmn", "not a token", "'\"><script>alert(1)</script>"]
)
def test_reports_a_token_that_vault_does_not_know(open_browser, token):
    person = open_browser()
    sign_in_by_token(person, token)
    expect(person.page.get_by_role("alert")).to_be_visible()
    expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_browser_does_not_keep_the_token(open_browser, fleet):
    person = open_browser()
    token = new_token(fleet, "alice")
    sign_in_by_token(person, token)
    expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()
    visible = json.dumps(person.page.context.storage_state()) + person.page.content()
    assert token not in visible
    assert person.page.evaluate("document.cookie") == ""


@pytest.fixture(scope="session")
def oidc_provider(fleet: seed.Seeded, served: Served) -> None:
    """Make Vault's OIDC provider the identity provider of Vault's OIDC method."""
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


def callback_address(fleet: seed.Seeded, name: str, url: str) -> str:
    """Do what Vault's web pages do, because a HashiCorp Vault built from its Go module has no web pages.

    Returns the address of the console to which these pages redirect.
    """
    query = dict(parse_qsl(urlsplit(url).query))
    path = f"identity/oidc/provider/default/authorize?{urlencode(query)}"
    answer = fleet.vault.call("GET", path, token=new_token(fleet, name))
    return f"{query['redirect_uri']}?{urlencode({'code': answer['code'], 'state': query['state']})}"


def test_single_sign_on_returns_to_the_requested_page(open_browser, oidc_provider, fleet):
    person = open_browser(strict=False)
    page = person.visit("/clusters")
    page.get_by_role("link", name="Sign in with single sign-on").click()
    page.wait_for_url(fleet.vault.addr + "/ui/**")
    if fleet.vault.is_hashicorp:
        page.goto(callback_address(fleet, "alice", page.url))
    else:
        page.get_by_label("Method").select_option("userpass")
        page.get_by_label("Username").fill("alice")
        page.get_by_label("Password").fill(seed.PASSWORD)
        page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(person.origin + "/clusters")
    expect(page.locator(".who")).to_contain_text("alice")
    assert [url for url in person.foreign if not url.startswith(fleet.vault.addr)] == []


def test_reports_that_single_sign_on_is_not_set_up(open_browser, fleet):
    nowhere = Method(SignInKind.OIDC, mount="nowhere")
    with serving.served(fleet.vault.addr, methods=(nowhere,)) as other:
        person = open_browser(to=other)
        person.visit("/sign-in")
        person.page.get_by_role("link", name="Sign in with single sign-on").click()
        expect(person.page.get_by_role("alert")).to_contain_text("Vault")


def test_refuses_a_callback_of_a_sign_in_that_another_browser_started(open_browser):
    person = open_browser()
    person.visit("/sign-in/oidc/callback?state=st_forged&code=forged")
    expect(person.page.get_by_role("alert")).to_contain_text("not started in this browser")


def test_signing_out_revokes_the_token(open_browser, fleet):
    person = open_browser()
    token = new_token(fleet, "alice", policies=["default"], ttl="1h")
    sign_in_by_token(person, token)
    person.page.get_by_role("button", name="Sign out").click()
    expect(person.page.get_by_role("status")).to_have_text("You are signed out.")
    with pytest.raises(Exception, match="403"):
        fleet.vault.call("GET", "auth/token/lookup-self", token=token)
    person.visit("/")
    expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_after_an_idle_time_out_signing_in_returns_to_the_requested_page(open_browser, fleet):
    with serving.served(fleet.vault.addr, idle=timedelta(seconds=2)) as short:
        person = open_browser(to=short)
        person.sign_in("alice")
        person.page.wait_for_url(short.origin + "/")
        time.sleep(2.2)
        person.visit("/projects/payments")
        expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()
        form = person.page.locator("details[open]")
        form.get_by_label("user name").fill("alice")
        form.get_by_label("password").fill(seed.PASSWORD)
        form.get_by_role("button", name="Sign in").click()
        person.page.wait_for_url(short.origin + "/projects/payments")


@pytest.fixture
def local_console(fleet: seed.Seeded) -> Iterator[tuple[Served, str]]:
    """A console like that of `regcred console`, over plain HTTP, with a ticket for alice's token."""
    from pydantic import SecretStr

    token = new_token(fleet, "alice")
    with serving.served(
        fleet.vault.addr, tls=False, ticket=Ticket("the-ticket", lambda: SecretStr(token))
    ) as local:
        yield local, token


def test_a_console_ticket_works_once_and_signing_out_keeps_the_token(open_browser, local_console, fleet):
    console, token = local_console
    person = open_browser(to=console)
    person.visit("/sign-in/ticket?ticket=wrong")
    expect(person.page.get_by_role("alert")).to_contain_text("works only once")
    person.visit("/sign-in/ticket?ticket=the-ticket")
    expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()
    assert any(cookie["name"] == SESSION for cookie in person.page.context.cookies())
    other = open_browser(to=console)
    other.visit("/sign-in/ticket?ticket=the-ticket")
    expect(other.page.get_by_role("alert")).to_contain_text("works only once")
    person.page.get_by_role("button", name="Sign out").click()
    expect(person.page.get_by_role("status")).to_be_visible()
    assert fleet.vault.call("GET", "auth/token/lookup-self", token=token)["data"]
