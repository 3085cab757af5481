"""Every action of the console, as its people do it, against the real policies."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from console import seed
from regcred.registry_reference import Reference
from regcred.vault.records.declared import Action
from regcred.vault.records.index import IndexEntry, State

pytestmark = pytest.mark.real


def requested(fleet: seed.Seeded, reference: str) -> Action | None:
    of = Reference.parse(reference)
    found = fleet.store.revocation(of) or fleet.store.request(of)
    return found.value.action if found else None


def answered(fleet: seed.Seeded, reference: str) -> None:
    """What rotate does once it has acted."""
    of = Reference.parse(reference)
    for revocation in (True, False):
        fleet.store.remove_request(
            of, fleet.store.request_version(of, revocation=revocation), revocation=revocation
        )


def test_from_sign_in_to_a_copied_annotation_takes_four_clicks(arrives):
    person = arrives(permissions=["clipboard-read", "clipboard-write"])
    person.signs_in("alice")  # one
    page = person.page
    page.get_by_role("link", name="Registries", exact=True).click()  # two
    page.get_by_role("link", name="ecr-prod").click()  # three
    page.get_by_role("button", name="Copy").first.click()  # four
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "registry.regcred.dev/ecr-prod: payments/ecr-prod" in copied


def test_displays_one_annotation_for_several_registries(alice):
    page = alice.goes("/registries")
    for name in ("payments/ecr-prod", "payments/nexus"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.get_by_role("button", name="Show annotation").click()
    for form in ("YAML", "Helm values", "Kustomize"):
        text = page.locator("pre", has_text="registry.regcred.dev").filter(visible=True)
        expect(page.get_by_text(form, exact=True)).to_be_visible()
    for text in page.locator("pre").all_text_contents():
        assert "registry.regcred.dev/ecr-prod: payments/ecr-prod" in text
        assert "registry.regcred.dev/nexus: payments/nexus" in text


@pytest.mark.parametrize(
    ("button", "action", "shown"),
    [("Verify", Action.VERIFY, "Verification"), ("Rotate now", Action.ROTATE, "Rotation")],
)
def test_an_action_writes_a_request_and_the_page_shows_when_it_is_done(alice, fleet, button, action, shown):
    page = alice.goes("/registries/payments/nexus")
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("status")).to_contain_text(f"{shown} requested")
    assert requested(fleet, "payments/nexus") is action
    answered(fleet, "payments/nexus")
    expect(page.get_by_role("status")).to_be_hidden(timeout=15_000)


def test_revokes_only_what_was_typed_out(alice, fleet):
    page = alice.goes("/registries/payments/tools")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Revoke the credential").click()
    page.get_by_label("Type payments/tools").fill("payments/other")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("alert")).to_contain_text("Type payments/tools to confirm")
    assert requested(fleet, "payments/tools") is None
    page.get_by_label("Type payments/tools").fill("payments/tools")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("status")).to_contain_text("Revocation requested")
    assert requested(fleet, "payments/tools") is Action.REVOKE
    answered(fleet, "payments/tools")


def add(page: Page, provider: str, **values: str) -> None:
    page.get_by_role("link", name="Registries", exact=True).click()
    page.get_by_role("link", name="Add a registry").first.click()
    page.locator(f"a[href^='/registries/add?provider={provider}']").first.click()
    page.locator("details.card summary").click()
    for name, value in values.items():
        page.locator(f"[name='{name.replace('__', '.')}']").fill(value)
    page.get_by_role("button", name="Add and request").click()


def test_adds_a_keyless_registry_and_looks_on_while_the_first_credential_is_fetched(alice, fleet):
    page = alice.goes("/")
    add(page, "ecr", registry="ecr-new", regions="eu-central-1", account="123456789012")
    expect(page.get_by_role("status")).to_contain_text("Rotation requested")
    assert requested(fleet, "payments/ecr-new") is Action.ROTATE
    expect(page.get_by_role("heading", name="Trust at the vendor")).to_be_visible()
    entry = IndexEntry(
        state=State.OK, version=1, provider="ecr", hosts=["x.example.com"], changed_at=datetime.now(UTC)
    )
    fleet.store.merge_index("payments", {"ecr-new": entry})
    answered(fleet, "payments/ecr-new")
    expect(page.locator("h1 .state")).to_have_text("ok", timeout=15_000)


def test_adds_a_registry_with_a_secret_that_nobody_can_read_back(alice, fleet):
    page = alice.goes("/")
    add(
        page,
        "basic",
        registry="with-secret",
        hosts="nexus.example.com:8443",
        secret__username="robot",
        secret__password="top-secret-of-the-test",
    )
    expect(page.get_by_role("heading", name="with-secret")).to_be_visible()
    held = fleet.store.upstream(Reference("payments", "with-secret"))
    assert held
    assert held.value.fields["password"].get_secret_value() == "top-secret-of-the-test"
    assert "nexus.example.com" in held.value.bound_to
    for path in ("", "/edit", "/secret"):
        alice.goes(f"/registries/payments/with-secret{path}")
        assert "top-secret-of-the-test" not in page.content()


def test_errors_stand_at_their_fields_and_what_was_typed_stays(alice, fleet):
    page = alice.goes("/")
    add(page, "basic", registry="Bad Name", hosts="https://registry.example.com", secret__username="robot")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was saved")
    expect(page.locator("#f-hosts-error")).to_contain_text("has a scheme")
    expect(page.locator("#f-registry-error")).to_contain_text("capital letters")
    expect(page.locator("#f-secret-password-error")).to_contain_text("missing")
    expect(page.locator("[name=hosts]")).to_have_value("https://registry.example.com")
    expect(page.locator("[name='secret.username']")).to_have_value("")


def test_the_bounds_of_the_project_are_told_before_anything_is_written(alice, fleet):
    page = alice.goes("/")
    add(
        page,
        "basic",
        registry="elsewhere",
        hosts="evil.example.com",
        secret__username="a",
        secret__password="b",
    )
    expect(page.get_by_role("alert")).to_contain_text("not allowed to this project")
    assert fleet.store.definition(Reference("payments", "elsewhere")) is None
    assert fleet.store.upstream(Reference("payments", "elsewhere")) is None


def test_a_name_that_is_taken_is_told(alice):
    page = alice.goes("/")
    add(page, "ecr", registry="ecr-prod", regions="eu-central-1")
    expect(page.locator("#f-registry-error")).to_contain_text("exists already")


def test_a_way_of_signing_in_that_needs_a_secret_asks_for_it(alice):
    page = alice.goes("/registries/add?provider=gar&project=payments")
    page.locator("[name=registry]").fill("gar")
    page.locator("[name=hosts]").fill("gcr.io")
    page.locator("[name=auth]").select_option("key")
    page.get_by_role("button", name="Add and request").click()
    expect(page.get_by_role("heading", name="Upstream secret")).to_be_visible()
    expect(page.locator("[name=auth]")).to_have_value("key")


def test_edits_a_definition_and_keeps_its_secret(alice, fleet):
    page = alice.goes("/registries/payments/ecr-prod/edit")
    page.locator("[name=regions]").fill("eu-central-1\neu-west-1\nus-east-1")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Rotation requested")
    found = fleet.store.definition(Reference("payments", "ecr-prod"))
    assert found
    assert found.value.content()["regions"] == ["eu-central-1", "eu-west-1", "us-east-1"]
    answered(fleet, "payments/ecr-prod")


def test_two_people_who_edit_the_same_definition_do_not_overwrite_each_other(alice, fleet):
    page = alice.goes("/registries/payments/ecr-prod/edit")
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


def test_gives_a_new_upstream_secret(alice, fleet):
    page = alice.goes("/registries/payments/nexus")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Replace the upstream secret").click()
    page.get_by_label("username", exact=True).fill("robot")
    page.get_by_label("password", exact=True).fill("renewed-secret")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Rotation requested")
    held = fleet.store.upstream(Reference("payments", "nexus"))
    assert held
    assert held.value.fields["password"].get_secret_value() == "renewed-secret"
    answered(fleet, "payments/nexus")


def test_removes_a_registry_with_its_secret(alice, fleet):
    page = alice.goes("/")
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
    assert fleet.store.definition(Reference("payments", "to-remove")) is None
    assert fleet.store.upstream(Reference("payments", "to-remove")) is None


def test_filters_searches_and_sorts_on_the_server(alice):
    page = alice.goes("/registries")
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
    page = alice.goes("/explain")
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
    page = alice.goes("/explain")
    page.get_by_label("Manifest or image").fill("registry.example.com/payments/api:1")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("article")).to_contain_text("registry.regcred.dev/tools: payments/tools")


def test_a_platform_admin_grants_a_namespace_and_takes_it_away(petra, fleet):
    page = petra.goes("/clusters/edge-2")
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
def test_a_grant_that_makes_no_sense_is_told(petra, fleet, bad):
    page = petra.goes("/clusters/edge-2")
    page.get_by_label("project").fill("payments")
    page.get_by_label("namespaces").fill(bad)
    page.get_by_role("button", name="Grant", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("names of namespaces")
    grants = fleet.store.cluster("edge-2")
    assert grants
    assert bad not in grants.value.grants["payments"]


def test_a_platform_admin_edits_the_bounds_of_a_project(petra, fleet):
    page = petra.goes("/projects/search")
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
    page = petra.goes("/projects")
    page.get_by_role("link", name="Add a project").click()
    page.get_by_label("name").fill("brand-new")
    page.get_by_label("hosts").fill("registry.example.com")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="brand-new")).to_be_visible()
    assert fleet.store.project("brand-new")
    fleet.vault.call("DELETE", "regcred/metadata/platform/projects/brand-new")


def test_a_platform_admin_confirms_the_removals_that_sync_holds(petra, fleet):
    page = petra.goes("/")
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


def test_removals_that_were_not_seen_are_not_confirmed(petra, fleet):
    page = petra.goes("/clusters/edge-2")
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


def test_a_project_admin_sees_what_is_held_and_can_not_confirm_it(alice):
    page = alice.goes("/clusters/edge-2")
    expect(page.locator("section:has(#held)")).to_contain_text("payments: 7 Secrets")
    expect(page.locator("section:has(#held)").get_by_role("button")).to_have_count(0)


def test_a_platform_admin_puts_somebody_into_a_group_and_takes_him_out(petra, fleet):
    page = petra.goes("/projects/payments")
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
    ids = fleet.vault.call("GET", f"identity/group/name/{group}")["data"]["member_entity_ids"] or []
    return {fleet.vault.call("GET", f"identity/entity/id/{one}")["data"]["name"] for one in ids}


def test_a_group_of_the_identity_provider_is_added_by_its_name(petra, fleet):
    fleet.vault.call("POST", "identity/group/name/okta-payments", {"type": "external"})
    page = petra.goes("/projects/payments")
    page.get_by_label("new member").fill("okta-payments")
    page.get_by_label("kind", exact=True).select_option("group")
    page.get_by_role("button", name="Add", exact=True).click()
    button = page.get_by_role("button", name="Remove okta-payments from regcred-admins-payments")
    button.click()
    expect(button).to_have_count(0)
    assert members_of(fleet, "regcred-admins-payments") == {"alice"}


def test_gives_a_second_login_whole_or_not_at_all(alice, fleet):
    page = alice.goes("/registries/payments/nexus/secret")
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
    held = fleet.store.upstream(Reference("payments", "nexus"))
    assert held
    told = {name: value.get_secret_value() for name, value in held.value.fields.items()}
    assert told == {
        "username": "robot",
        "password": "first-secret",
        "username_2": "robot-2",
        "password_2": "second-secret",
    }
    answered(fleet, "payments/nexus")


def test_somebody_without_a_project_is_told_the_next_step(arrives, cookies):
    person = arrives(storage_state=cookies["nobody"])
    page = person.goes("/")
    expect(page.get_by_role("heading", name="No projects yet")).to_be_visible()
    expect(page.locator("main")).to_contain_text("regcred-admins-PROJECT")


def test_reads_and_writes_without_javascript(arrives, cookies, fleet):
    person = arrives(storage_state=cookies["alice"], java_script_enabled=False)
    page = person.goes("/registries/payments/nexus")
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("status")).to_contain_text("Verification requested")
    answered(fleet, "payments/nexus")
    page.get_by_role("link", name="Refresh").click()
    expect(page.get_by_role("status")).to_have_count(0)
    page.get_by_role("link", name="Show annotation").click()
    expect(page.locator("pre").first).to_contain_text("registry.regcred.dev/nexus: payments/nexus")
