"""An admin of one project neither sees nor does anything of another: by page, by form, by forged request."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from regcred.registry_reference import Reference

pytestmark = pytest.mark.real


def steady(text: str) -> str:
    """A page without what differs from one session and one moment to the next."""
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
        page = alice.goes(path.replace("search", "nowhere").replace("harbor", "nothing"))
        missing = steady(page.content())
        answer = page.goto(alice.origin + path)
        assert answer
        assert answer.status == 404, path
        assert steady(page.content()) == missing, path


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


def test_no_page_names_anything_of_another_project(alice):
    for path in LISTS:
        text = alice.goes(path).locator("body").inner_text()
        assert "harbor" not in text.replace("q=harbor", ""), path
        assert "search-prod" not in text, path


def test_explain_tells_nothing_of_another_project(alice):
    page = alice.goes("/explain")
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


def test_a_request_that_is_made_by_hand_does_nothing(alice, fleet):
    page = alice.goes("/")
    csrf = page.locator("[name=csrf]").first.get_attribute("value")
    before = everything(fleet)
    for path, fields in FORGED:
        answer = page.request.post(
            alice.origin + path,
            form={"csrf": csrf, **fields},
            headers={"Origin": alice.origin},
            max_redirects=0,
        )
        assert answer.status in {404, 409, 422}, (path, answer.status)
        assert everything(fleet) == before, path


def everything(fleet) -> dict[str, object]:
    """Whatever these requests are after."""
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


def test_the_other_admin_sees_what_is_his(bob):
    page = bob.goes("/registries")
    expect(page.get_by_role("link", name="harbor")).to_be_visible()
    expect(page.get_by_role("link", name="ecr-prod")).to_have_count(0)


def test_who_leaves_the_group_sees_nothing_at_the_next_page(arrives, fleet):
    person = arrives()
    person.signs_in("bob")
    person.page.wait_for_url(person.origin + "/")
    expect(person.goes("/registries").get_by_role("link", name="harbor")).to_be_visible()
    group = "identity/group/name/regcred-admins-search"
    members = fleet.vault.call("GET", group)["data"]["member_entity_ids"]
    fleet.vault.call("POST", group, {"member_entity_ids": []})
    try:
        assert "harbor" not in person.goes("/registries").locator("main").inner_text()
        expect(
            person.goes("/registries/search/harbor").get_by_role("heading", name="Not found")
        ).to_be_visible()
    finally:
        fleet.vault.call("POST", group, {"member_entity_ids": members})


def test_a_platform_admin_sees_all_but_may_not_ask_for_a_rotation(petra, fleet):
    page = petra.goes("/registries/search/harbor")
    page.get_by_role("button", name="Rotate now").click()
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    assert fleet.store.request(Reference("search", "harbor")) is None
