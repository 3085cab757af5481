"""An admin of one project can't see or change another project by page, form or forged request."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from regcred.registry_reference import Reference

pytestmark = pytest.mark.real


def without_varying_parts(text: str) -> str:
    """A page without the parts that depend on the session and the time."""
    return re.sub(r'name="csrf" value="[^"]+"|<time .*?</time>', "", text)


PAGES = [
    "/registries/search/harbor",
    "/registries/search/harbor/edit",
    "/registries/search/harbor/secret",
    "/registries/search/harbor/do/revoke",
    "/registries/search/harbor/do/remove",
    "/registries/search/harbor/progress",
    "/projects/search",
    "/projects/search/edit",
    "/projects/add",
    "/clusters/no-such-cluster",
]


def test_a_page_of_another_project_looks_like_one_that_does_not_exist(alice):
    for path in PAGES:
        page = alice.visit(path.replace("search", "nowhere").replace("harbor", "nothing"))
        missing = without_varying_parts(page.content())
        answer = page.goto(alice.origin + path)
        assert answer
        assert answer.status == 404, path
        assert without_varying_parts(page.content()) == missing, path


LISTS = [
    "/",
    "/registries",
    "/registries?q=harbor",
    "/clusters",
    "/clusters/edge-1",
    "/projects",
    "/annotation?ref=search/harbor",
    "/explain",
]


def test_no_page_names_a_registry_or_namespace_of_another_project(alice):
    for path in LISTS:
        text = alice.visit(path).locator("body").inner_text()
        assert "harbor" not in text.replace("q=harbor", ""), path
        assert "search-prod" not in text, path


def test_explain_reveals_nothing_of_another_project(alice):
    page = alice.visit("/explain")
    page.get_by_label("Manifest or image").fill("harbor.example.com/search/app:1")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("article")).to_contain_text("no annotation of this workload names a registry")
    assert "search/harbor" not in page.locator("article").inner_text()


FORGED = [
    ("/registries/search/harbor/do/rotate", {}),
    ("/registries/search/harbor/do/verify", {}),
    ("/registries/search/harbor/do/revoke", {"name": "search/harbor"}),
    ("/registries/search/harbor/do/remove", {"name": "search/harbor"}),
    (
        "/registries/search/harbor/edit",
        {"provider": "harbor", "host": "harbor.example.com", "harbor_project": "x", "version": "1"},
    ),
    ("/registries/search/harbor/secret", {"secret.username": "a", "secret.password": "b"}),
    (
        "/registries/add",
        {"provider": "ecr", "project": "search", "registry": "planted", "regions": "eu-central-1"},
    ),
    ("/projects/search/edit", {"hosts": "evil.example.com", "version": "1"}),
    ("/projects/payments/edit", {"hosts": "evil.example.com", "version": "1"}),
    ("/projects/add", {"name": "planted", "hosts": "evil.example.com", "version": "0"}),
    ("/clusters/edge-1/grants", {"project": "search", "namespaces": "mine"}),
    ("/clusters/edge-1/grants", {"project": "payments", "namespaces": "mine"}),
    ("/clusters/edge-2/removals", {"project": "payments", "count": "7"}),
    ("/clusters/edge-1/removals", {"project": "search", "count": "0"}),
    (
        "/projects/search/members",
        {"group": "regcred-admins-search", "kind": "person", "member": "alice"},
    ),
    (
        "/projects/payments/members",
        {"group": "regcred-admins-payments", "kind": "person", "member": "nobody"},
    ),
    (
        "/projects/payments/members",
        {"group": "regcred-platform-admins", "kind": "person", "member": "alice"},
    ),
]


def test_a_forged_request_changes_nothing(alice, fleet):
    page = alice.visit("/")
    csrf = page.locator("[name=csrf]").first.get_attribute("value")
    before = state_of(fleet)
    for path, fields in FORGED:
        answer = page.request.post(
            alice.origin + path,
            form={"csrf": csrf, **fields},
            headers={"Origin": alice.origin},
            max_redirects=0,
        )
        assert answer.status in {404, 409, 422}, (path, answer.status)
        assert state_of(fleet) == before, path


def state_of(fleet) -> dict[str, object]:
    """The versions and members of everything that the forged requests try to change."""
    store = fleet.store
    harbor = Reference("search", "harbor")
    versions = {
        path: fleet.store._kv.version(path)
        for path in (
            "registries/search/harbor",
            "registries/search/planted",
            "upstream/search/harbor",
            "upstream/search/planted",
            "requests/search/harbor",
            "requests/search/planted",
            "platform/projects/search",
            "platform/projects/payments",
            "platform/projects/planted",
            "platform/clusters/edge-1",
            "platform/clusters/edge-2",
        )
    }
    groups = {
        name: fleet.vault.call("GET", f"identity/group/name/{name}")["data"]["member_entity_ids"]
        for name in ("regcred-admins-search", "regcred-admins-payments")
    }
    return {"request": store.request(harbor), "groups": groups, **versions}


def test_the_admin_of_the_other_project_sees_its_registries(bob):
    page = bob.visit("/registries")
    expect(page.get_by_role("link", name="harbor")).to_be_visible()
    expect(page.get_by_role("link", name="ecr-prod")).to_have_count(0)


def test_a_person_who_leaves_the_group_loses_access_at_the_next_page(open_browser, fleet):
    person = open_browser()
    person.sign_in("bob")
    person.page.wait_for_url(person.origin + "/")
    expect(person.visit("/registries").get_by_role("link", name="harbor")).to_be_visible()
    group = "identity/group/name/regcred-admins-search"
    members = fleet.vault.call("GET", group)["data"]["member_entity_ids"]
    fleet.vault.call("POST", group, {"member_entity_ids": []})
    try:
        assert "harbor" not in person.visit("/registries").locator("main").inner_text()
        expect(
            person.visit("/registries/search/harbor").get_by_role("heading", name="Not found")
        ).to_be_visible()
    finally:
        fleet.vault.call("POST", group, {"member_entity_ids": members})


def test_a_platform_admin_sees_all_registries_but_can_not_request_a_rotation(petra, fleet):
    page = petra.visit("/registries/search/harbor")
    page.get_by_role("button", name="Rotate now").click()
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    assert fleet.store.request(Reference("search", "harbor")) is None
