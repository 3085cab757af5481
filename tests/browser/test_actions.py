"""Every action of the console, in a browser, against the real policies."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from console import seed
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Action
from regcred.vault.records.index import IndexEntry, State

pytestmark = pytest.mark.real


def requested_action(fleet: seed.Seeded, name: str) -> Action | None:
    reference = Reference.parse(name)
    found = fleet.store.revocation(reference) or fleet.store.request(reference)
    return found.value.action if found else None


def remove_requests(fleet: seed.Seeded, name: str) -> None:
    """Remove the requests for a registry, as rotate does after it has acted."""
    reference = Reference.parse(name)
    for revocation in (True, False):
        version = fleet.store.request_version(reference, revocation=revocation)
        fleet.store.remove_request(reference, version, revocation=revocation)


def test_from_sign_in_to_a_copied_annotation_takes_four_clicks(open_browser):
    person = open_browser(permissions=["clipboard-read", "clipboard-write"])
    person.sign_in("alice")  # one
    page = person.page
    page.get_by_role("link", name="Registries", exact=True).click()  # two
    page.get_by_role("link", name="ecr-prod").click()  # three
    page.get_by_role("button", name="Copy").first.click()  # four
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "registry.regcred.dev/ecr-prod: payments/ecr-prod" in copied


def test_displays_one_annotation_for_several_registries(alice):
    page = alice.visit("/registries")
    for name in ("payments/ecr-prod", "payments/nexus"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.get_by_role("button", name="Show annotation").click()
    for form in ("YAML", "Helm values", "Kustomize"):
        expect(page.get_by_text(form, exact=True)).to_be_visible()
    for text in page.locator("pre").all_text_contents():
        assert "registry.regcred.dev/ecr-prod: payments/ecr-prod" in text
        assert "registry.regcred.dev/nexus: payments/nexus" in text


@pytest.mark.parametrize(
    ("button", "action", "shown"),
    [("Verify", Action.VERIFY, "Verification"), ("Rotate now", Action.ROTATE, "Rotation")],
)
def test_an_action_writes_a_request_and_the_page_shows_when_it_is_done(alice, fleet, button, action, shown):
    page = alice.visit("/registries/payments/nexus")
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("status")).to_contain_text(f"{shown} requested")
    assert requested_action(fleet, "payments/nexus") is action
    remove_requests(fleet, "payments/nexus")
    expect(page.get_by_role("status")).to_be_hidden(timeout=15_000)


def test_revokes_only_after_the_reference_is_typed(alice, fleet):
    page = alice.visit("/registries/payments/tools")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Revoke the credential").click()
    page.get_by_label("Type payments/tools").fill("payments/other")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("alert")).to_contain_text("Type payments/tools to confirm")
    assert requested_action(fleet, "payments/tools") is None
    page.get_by_label("Type payments/tools").fill("payments/tools")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("status")).to_contain_text("Revocation requested")
    assert requested_action(fleet, "payments/tools") is Action.REVOKE
    remove_requests(fleet, "payments/tools")


def add(page: Page, provider: str, **values: str) -> None:
    page.get_by_role("link", name="Registries", exact=True).click()
    page.get_by_role("link", name="Add a registry").first.click()
    page.locator(f"a[href^='/registries/add?provider={provider}']").first.click()
    page.locator("details.card summary").click()
    for name, value in values.items():
        page.locator(f"[name='{name.replace('__', '.')}']").fill(value)
    page.get_by_role("button", name="Add and request").click()


def test_adds_a_keyless_registry_and_shows_when_its_first_credential_is_there(alice, fleet):
    page = alice.visit("/")
    add(page, "ecr", registry="ecr-new", regions="eu-central-1", account="123456789012")
    expect(page.get_by_role("status")).to_contain_text("Rotation requested")
    assert requested_action(fleet, "payments/ecr-new") is Action.ROTATE
    expect(page.get_by_role("heading", name="Trust at the vendor")).to_be_visible()
    entry = IndexEntry(
        state=State.OK, version=1, provider="ecr", hosts=["x.example.com"], changed_at=datetime.now(UTC)
    )
    fleet.store.merge_index("payments", {"ecr-new": entry})
    remove_requests(fleet, "payments/ecr-new")
    expect(page.locator("h1 .state")).to_have_text("ok", timeout=15_000)


def test_adds_a_registry_and_never_shows_its_secret_again(alice, fleet):
    page = alice.visit("/")
    add(
        page,
        "basic",
        registry="with-secret",
        hosts="nexus.example.com:8443",
        secret__username="robot",
        secret__password="top-secret-of-the-test",
    )
    expect(page.get_by_role("heading", name="with-secret")).to_be_visible()
    secret = fleet.store.upstream(Reference("payments", "with-secret"))
    assert secret
    assert secret.value.fields["password"].get_secret_value() == "top-secret-of-the-test"
    assert "nexus.example.com" in secret.value.bound_to
    for path in ("", "/edit", "/secret"):
        alice.visit(f"/registries/payments/with-secret{path}")
        assert "top-secret-of-the-test" not in page.content()


def test_errors_are_at_their_fields_and_the_input_stays_except_secrets(alice, fleet):
    page = alice.visit("/")
    add(page, "basic", registry="Bad Name", hosts="https://registry.example.com", secret__username="robot")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was saved")
    expect(page.locator("#f-hosts-error")).to_contain_text("has a scheme")
    expect(page.locator("#f-registry-error")).to_contain_text("capital letters")
    expect(page.locator("#f-secret-password-error")).to_contain_text("missing")
    expect(page.locator("[name=hosts]")).to_have_value("https://registry.example.com")
    expect(page.locator("[name='secret.username']")).to_have_value("")


def test_refuses_a_host_outside_the_projects_bounds_and_writes_nothing(alice, fleet):
    page = alice.visit("/")
    add(
        page,
        "basic",
        registry="elsewhere",
        hosts="evil.example.com",
        secret__username="a",
        secret__password="b",
    )
    expect(page.get_by_role("alert")).to_contain_text("not allowed for this project")
    assert fleet.store.definition(Reference("payments", "elsewhere")) is None
    assert fleet.store.upstream(Reference("payments", "elsewhere")) is None


def test_reports_a_name_that_exists_already(alice):
    page = alice.visit("/")
    add(page, "ecr", registry="ecr-prod", regions="eu-central-1")
    expect(page.locator("#f-registry-error")).to_contain_text("exists already")


def test_a_sign_in_method_that_needs_a_secret_adds_its_fields_to_the_form(alice):
    page = alice.visit("/registries/add?provider=gar&project=payments")
    page.locator("[name=registry]").fill("gar")
    page.locator("[name=hosts]").fill("gcr.io")
    page.locator("[name=auth]").select_option("key")
    page.get_by_role("button", name="Add and request").click()
    expect(page.get_by_role("heading", name="Upstream secret")).to_be_visible()
    expect(page.locator("[name=auth]")).to_have_value("key")


def test_edits_a_definition_and_keeps_its_secret(alice, fleet):
    page = alice.visit("/registries/payments/ecr-prod/edit")
    page.locator("[name=regions]").fill("eu-central-1\neu-west-1\nus-east-1")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Rotation requested")
    found = fleet.store.definition(Reference("payments", "ecr-prod"))
    assert found
    assert found.value.content()["regions"] == ["eu-central-1", "eu-west-1", "us-east-1"]
    remove_requests(fleet, "payments/ecr-prod")


def test_two_people_who_edit_the_same_definition_do_not_overwrite_each_other(alice, fleet):
    page = alice.visit("/registries/payments/ecr-prod/edit")
    reference = Reference("payments", "ecr-prod")
    found = fleet.store.definition(reference)
    assert found
    changed = found.value.model_copy(update={"description": "changed by somebody else"})
    fleet.store.write_definition(reference, changed, cas=found.version)
    page.locator("[name=regions]").fill("eu-north-1")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("somebody else has changed this definition")
    expect(page.locator("[name=regions]")).to_have_value("eu-north-1")
    again = fleet.store.definition(reference)
    assert again
    assert again.value.content()["description"] == "changed by somebody else"


def test_replaces_the_upstream_secret(alice, fleet):
    page = alice.visit("/registries/payments/nexus")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Replace the upstream secret").click()
    page.get_by_label("username", exact=True).fill("robot")
    page.get_by_label("password", exact=True).fill("renewed-secret")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Rotation requested")
    secret = fleet.store.upstream(Reference("payments", "nexus"))
    assert secret
    assert secret.value.fields["password"].get_secret_value() == "renewed-secret"
    remove_requests(fleet, "payments/nexus")


def test_removes_a_registry_with_its_secret(alice, fleet):
    page = alice.visit("/")
    add(
        page,
        "basic",
        registry="to-remove",
        hosts="nexus.example.com:8443",
        secret__username="a",
        secret__password="b",
    )
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Remove the registry").click()
    page.get_by_label("Type payments/to-remove").fill("payments/to-remove")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", name="Registries")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("payments/to-remove was removed")
    assert fleet.store.definition(Reference("payments", "to-remove")) is None
    assert fleet.store.upstream(Reference("payments", "to-remove")) is None


def test_filters_searches_and_sorts_on_the_server(alice):
    page = alice.visit("/registries")
    page.get_by_role("searchbox").fill("nexus.example.com")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("link", name="nexus", exact=False).first).to_be_visible()
    expect(page.get_by_role("link", name="ecr-prod")).to_have_count(0)
    page.get_by_role("link", name="Clear").click()
    page.get_by_label("state", exact=True).select_option("failing")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.goto(page.url.split("?")[0])
    page.get_by_role("link", name="expires in").click()
    assert page.url.endswith("sort=expiry")
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("expires in")


MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  namespace: shop
  annotations:
    registry.regcred.dev/images: payments/ecr-prod
spec:
  template:
    spec:
      containers:
        - name: app
          image: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop:1.0
        - name: side
          image: nexus.example.com:8443/team/side:2
"""


def test_explains_a_deployment_image_by_image(alice):
    page = alice.visit("/explain")
    page.get_by_label("Manifest or image").fill(MANIFEST)
    page.get_by_label("cluster").select_option("edge-1")
    page.get_by_role("button", name="Explain").click()
    first, second = page.locator("article").all()
    expect(first).to_contain_text(
        "payments/ecr-prod (annotation registry.regcred.dev/images on Deployment shop)"
    )
    expect(first).to_contain_text("yes, to namespace shop of cluster edge-1")
    expect(second).to_contain_text("annotate the workload: registry.regcred.dev/nexus: payments/nexus")
    expect(second.locator("pre")).to_contain_text("registry.regcred.dev/nexus: payments/nexus")


def test_explains_the_name_of_an_image(alice):
    page = alice.visit("/explain")
    page.get_by_label("Manifest or image").fill("registry.example.com/payments/api:1")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("article")).to_contain_text("registry.regcred.dev/tools: payments/tools")


def test_a_platform_admin_adds_and_removes_a_grant(petra, fleet):
    page = petra.visit("/clusters/edge-2")
    page.get_by_label("project").fill("payments")
    page.get_by_label("namespaces").fill("new-space, other-space")
    page.get_by_role("button", name="Grant", exact=True).click()
    expect(page.locator("#grants ~ table, section:has(#grants)").first).to_contain_text("new-space")
    grants = fleet.store.cluster("edge-2")
    assert grants
    assert {"new-space", "other-space"} <= set(grants.value.grants["payments"])
    page.get_by_role("button", name="Remove payments from other-space").click()
    expect(page.get_by_role("button", name="Remove payments from other-space")).to_have_count(0)
    again = fleet.store.cluster("edge-2")
    assert again
    assert "other-space" not in again.value.grants["payments"]


@pytest.mark.parametrize("bad", ["UPPER", "team-*", "a b/c"])
def test_refuses_a_grant_to_an_invalid_namespace(petra, fleet, bad):
    page = petra.visit("/clusters/edge-2")
    page.get_by_label("project").fill("payments")
    page.get_by_label("namespaces").fill(bad)
    page.get_by_role("button", name="Grant", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("names of namespaces")
    grants = fleet.store.cluster("edge-2")
    assert grants
    assert bad not in grants.value.grants["payments"]


def test_a_platform_admin_edits_the_bounds_of_a_project(petra, fleet):
    page = petra.visit("/projects/search")
    expect(page.locator("section:has(#people)")).to_contain_text("bob")
    page.get_by_role("link", name="Edit the bounds").click()
    page.get_by_label("accounts").fill("210987654321")
    page.get_by_label("hosts").fill("harbor.example.com\nnot a host!")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("accounts")).to_have_value("210987654321")
    page.get_by_label("hosts").fill("harbor.example.com")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="search")).to_be_visible()
    found = fleet.store.project("search")
    assert found
    assert found.value.accounts == ["210987654321"]


def test_a_platform_admin_adds_a_project(petra, fleet):
    page = petra.visit("/projects")
    page.get_by_role("link", name="Add a project").click()
    page.get_by_label("name").fill("brand-new")
    page.get_by_label("hosts").fill("registry.example.com")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="brand-new")).to_be_visible()
    assert fleet.store.project("brand-new")
    fleet.vault.call("DELETE", "regcred/metadata/platform/projects/brand-new")


def test_a_platform_admin_confirms_the_removals_that_sync_holds(petra, fleet):
    page = petra.visit("/")
    page.locator(".needs a[href='/clusters/edge-2#held']").click()
    held = page.locator("section:has(#held)")
    expect(held).to_contain_text("payments: 7 Secrets")
    expect(held.get_by_role("row", name="tools preview-3 no workload requests it")).to_be_visible()
    held.get_by_role("button", name="Remove these 7 Secrets of payments").click()
    expect(held).to_contain_text("Confirmed until")
    expect(held.get_by_role("button")).to_have_count(0)
    found = fleet.store.cluster("edge-2")
    assert found
    assert found.value.confirmed["payments"].count == 7
    assert found.value.grants["payments"]
    fleet.store.write_cluster(
        "edge-2", found.value.model_copy(update={"confirmed": {}}), cas=found.version, owner=found.owner
    )


def test_confirms_no_removal_that_the_page_did_not_show(petra, fleet):
    page = petra.visit("/clusters/edge-2")
    before = fleet.store.status("edge-2", "payments")
    assert before
    tools = before.value.registries["tools"]
    more = tools.model_copy(update={"held": {**tools.held, "one-more": "unneeded"}})
    changed = before.value.model_copy(update={"registries": {**before.value.registries, "tools": more}})
    fleet.store.write_status("edge-2", "payments", changed, cas=before.version)
    try:
        page.get_by_role("button", name="Remove these 7 Secrets").click()
        expect(page.get_by_role("alert")).to_contain_text(
            "now holds 8 removals of payments, but you saw 7. Nothing was confirmed"
        )
        found = fleet.store.cluster("edge-2")
        assert found
        assert found.value.confirmed == {}
    finally:
        version = fleet.store.status_version("edge-2", "payments")
        fleet.store.write_status("edge-2", "payments", before.value, cas=version)


def test_a_project_admin_sees_held_removals_but_can_not_confirm_them(alice):
    page = alice.visit("/clusters/edge-2")
    expect(page.locator("section:has(#held)")).to_contain_text("payments: 7 Secrets")
    expect(page.locator("section:has(#held)").get_by_role("button")).to_have_count(0)


def test_a_platform_admin_adds_a_person_to_a_group_and_removes_them(petra, fleet):
    page = petra.visit("/projects/payments")
    page.get_by_label("new member").fill("somebody-unknown")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Vault has no person with this name")
    expect(page.get_by_label("new member")).to_have_value("somebody-unknown")
    page.get_by_label("new member").fill("nobody")
    page.get_by_label("group", exact=True).select_option("regcred-readers-payments")
    page.get_by_role("button", name="Add", exact=True).click()
    button = page.get_by_role("button", name="Remove nobody from regcred-readers-payments")
    expect(button).to_be_visible()
    assert members_of(fleet, "regcred-readers-payments") == {"nobody"}
    button.click()
    expect(button).to_have_count(0)
    assert members_of(fleet, "regcred-readers-payments") == set()
    assert members_of(fleet, "regcred-admins-payments") == {"alice"}


def members_of(fleet: seed.Seeded, group: str) -> set[str]:
    entity_ids = fleet.vault.call("GET", f"identity/group/name/{group}")["data"]["member_entity_ids"] or []
    return {
        fleet.vault.call("GET", f"identity/entity/id/{entity_id}")["data"]["name"] for entity_id in entity_ids
    }


def test_a_group_of_the_identity_provider_is_added_by_its_name(petra, fleet):
    fleet.vault.call("POST", "identity/group/name/okta-payments", {"type": "external"})
    page = petra.visit("/projects/payments")
    page.get_by_label("new member").fill("okta-payments")
    page.get_by_label("kind", exact=True).select_option("group")
    page.get_by_role("button", name="Add", exact=True).click()
    button = page.get_by_role("button", name="Remove okta-payments from regcred-admins-payments")
    button.click()
    expect(button).to_have_count(0)
    assert members_of(fleet, "regcred-admins-payments") == {"alice"}


def test_saves_a_second_login_only_if_it_is_complete(alice, fleet):
    page = alice.visit("/registries/payments/nexus/secret")
    page.get_by_label("username", exact=True).fill("robot")
    page.get_by_label("password", exact=True).fill("first-secret")
    page.get_by_text("A second login").click()
    page.get_by_label("username 2").fill("robot-2")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#f-secret-password_2-error")).to_contain_text("missing")
    page.get_by_label("username", exact=True).fill("robot")
    page.get_by_label("password", exact=True).fill("first-secret")
    page.get_by_label("username 2").fill("robot-2")
    page.get_by_label("password 2").fill("second-secret")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Rotation requested")
    secret = fleet.store.upstream(Reference("payments", "nexus"))
    assert secret
    fields = {name: value.get_secret_value() for name, value in secret.value.fields.items()}
    assert fields == {
        "username": "robot",
        "password": "first-secret",
        "username_2": "robot-2",
        "password_2": "second-secret",
    }
    remove_requests(fleet, "payments/nexus")


def test_a_person_without_a_project_sees_the_next_step(open_browser, cookies):
    person = open_browser(storage_state=cookies["nobody"])
    page = person.visit("/")
    expect(page.get_by_role("heading", name="No projects yet")).to_be_visible()
    expect(page.locator("main")).to_contain_text("regcred-admins-PROJECT")


def test_reads_and_writes_without_javascript(open_browser, cookies, fleet):
    person = open_browser(storage_state=cookies["alice"], java_script_enabled=False)
    page = person.visit("/registries/payments/nexus")
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("status")).to_contain_text("Verification requested")
    remove_requests(fleet, "payments/nexus")
    page.get_by_role("link", name="Refresh").click()
    expect(page.get_by_role("status")).to_have_count(0)
    page.get_by_role("link", name="Show annotation").click()
    expect(page.locator("pre").first).to_contain_text("registry.regcred.dev/nexus: payments/nexus")
