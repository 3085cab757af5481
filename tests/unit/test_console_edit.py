"""Editing a definition requires the upstream secret again if the secret would be sent to another host."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.console import Answer, World
from pydantic import SecretStr

from regcred.registry.parsing import parse
from regcred.registry.secret_destination import destination_text
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Definition, ProjectPolicy
from regcred.vault.store import Store

MAIN = Reference("payments", "main")
HOST, OTHER = "registry.example.com", "other.example.com"
EDIT = "/registries/payments/main/edit"


@pytest.fixture
def world() -> World:
    world = World()
    store = Store(world.vault.kv)
    store.write_project("payments", ProjectPolicy(hosts=[HOST, OTHER]), cas=0)
    content = {"provider": "basic", "hosts": [HOST]}
    store.write_definition(MAIN, Definition.model_validate(content), cas=0)
    secret = {"username": SecretStr("u"), "password": SecretStr("old")}
    store.write_upstream(MAIN, secret, bound_to=destination_text(parse(content, where="test")), cas=0)
    return world


def save(world: World, **fields: Any) -> Answer:
    browser = world.browser()
    browser.sign_in()
    form = {"csrf": browser.get(EDIT).csrf, "provider": "basic", "version": "1", "hosts": HOST, **fields}
    return browser.post(EDIT, form)


def stored(world: World) -> tuple[str, str]:
    """The stored password and the first host of the definition."""
    store = Store(world.vault.kv)
    upstream, definition = store.upstream(MAIN), store.definition(MAIN)
    assert upstream
    assert definition
    return upstream.value.fields["password"].get_secret_value(), definition.value.content()["hosts"][0]


def test_another_host_requires_the_secret_and_nothing_is_written_without_it(world: World) -> None:
    answer = save(world, hosts=OTHER)
    assert answer.status == 422
    assert "enter it again" in answer.text
    assert 'name="secret.password"' in answer.text
    assert stored(world) == ("old", HOST)


def test_with_the_secret_both_documents_are_written(world: World) -> None:
    answer = save(world, hosts=OTHER, **{"secret.username": "u", "secret.password": "new"})
    assert answer.status == 303, answer.text
    assert stored(world) == ("new", OTHER)


def test_a_change_without_a_new_destination_keeps_the_secret(world: World) -> None:
    answer = save(world, description="ours")
    assert answer.status == 303, answer.text
    assert stored(world) == ("old", HOST)


def test_saving_a_project_keeps_its_owner(world: World) -> None:
    store = Store(world.vault.kv)
    store.write_project("payments", ProjectPolicy(hosts=[HOST]), cas=1, owner="shop")
    browser = world.browser()
    browser.sign_in()
    page = "/projects/payments/edit"
    answer = browser.post(page, {"csrf": browser.get(page).csrf, "version": "2", "hosts": OTHER})
    assert answer.status == 303, answer.text
    found = store.project("payments")
    assert found
    assert (found.value.hosts, found.owner) == ([OTHER], "shop")
