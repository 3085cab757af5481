"""The console shows what others can write into Vault as text, which can't run, load or hide anything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from regcred.registry_reference import Reference
from regcred.vault.records.declared import Definition
from regcred.vault.records.history import Attempt
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.records.status import Placement, Status

pytestmark = pytest.mark.real

BAD = (
    "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'><svg "
    "onload=window.hacked=1>{{7*7}}"
)
MARK = "<script>window.hacked=1</script>"

PAGES = [
    "/",
    "/registries",
    "/registries?q=%3Cscript%3Ewindow.hacked%3D1%3C/script%3E&state=%22%3E%3Csvg%20onload%3Dwindow.hacked%3D1%3E",
    "/registries/payments/hostile",
    "/registries/payments/hostile/edit",
    "/registries/payments/hostile/do/revoke",
    "/annotation?ref=payments/hostile&format=%3Cscript%3E",
    "/clusters",
    "/clusters/edge-1",
    "/projects/payments",
    "/sign-in/oidc/callback?state=%3Cscript%3E&error=%3Csvg%20onload%3Dwindow.hacked%3D1%3E",
]


@pytest.fixture(scope="module")
def hostile(fleet):
    """A registry whose every stored field contains code that runs in a page without escaping."""
    now = datetime.now(UTC)
    reference = Reference("payments", "hostile")
    content = {
        "provider": "basic",
        "hosts": ["nexus.example.com:8443"],
        "description": BAD,
        BAD: BAD,
        "probe": "javascript:window.hacked=1",
    }
    fleet.store.write_definition(
        reference, Definition.model_validate(content), cas=fleet.store.definition_version(reference)
    )
    entry = IndexEntry(
        state=State.FAILING,
        version=3,
        provider=BAD,
        hosts=[BAD, "javascript:window.hacked=1"],
        error=BAD,
        error_kind=BAD,
        warning=BAD,
        answer=BAD,
        expires_at=now + timedelta(hours=3),
        refresh_at=now,
        failing_since=now,
        changed_at=now,
    )
    fleet.store.merge_index("payments", {"hostile": entry})
    fleet.store.add_history("payments", {"hostile": Attempt(now, MARK, 3, 10, "<b>")})
    before = fleet.store.status("edge-1", "payments")
    assert before
    place = Placement(
        placed={3: {"<svg onload=window.hacked=1>": "0123abcd"}}, refused={"ns": BAD, "<i>x": "clash"}
    )
    status = Status(
        written_at=now,
        sync_version=MARK,
        mode=MARK,
        registries={**before.value.registries, "hostile": place},
    )
    fleet.store.write_status("edge-1", "payments", status, cas=before.version)
    yield
    fleet.store.remove_definition(reference)
    fleet.store.write_status(
        "edge-1", "payments", before.value, cas=fleet.store.status_version("edge-1", "payments")
    )
    removed = entry.model_copy(
        update={"state": State.REMOVED, "version": 4, "changed_at": now + timedelta(seconds=1)}
    )
    fleet.store.merge_index("payments", {"hostile": removed})


def test_stored_fields_and_query_parameters_run_no_code(alice, hostile):
    for path in PAGES:
        page = alice.visit(path)
        page.wait_for_load_state()
        for details in page.locator("details").all():
            details.evaluate("element => { element.open = true }")
        assert page.evaluate("window.hacked") is None, path
        harmful = page.locator("main script, main img, main [onload], main [onerror], a[href^='javascript']")
        assert harmful.count() == 0, path
        assert "49" not in page.locator("main").inner_text().split(), path


def test_shows_hostile_text_unchanged(alice, hostile):
    page = alice.visit("/registries/payments/hostile")
    expect(page.locator("main")).to_contain_text(MARK)


def test_shows_characters_that_change_the_text_direction_as_escapes(alice, fleet):
    reference = Reference("payments", "right-to-left")
    content = {
        "provider": "basic",
        "hosts": ["nexus.example.com:8443"],
        "description": "safe\u202etxe.exe\u200b",
    }
    fleet.store.write_definition(
        reference, Definition.model_validate(content), cas=fleet.store.definition_version(reference)
    )
    try:
        text = alice.visit("/registries/payments/right-to-left").locator("main").inner_text()
        assert "\\u202e" in text
        assert "\u202e" not in text
    finally:
        fleet.store.remove_definition(reference)


def test_a_pasted_manifest_runs_no_code(alice):
    page = alice.visit("/explain")
    text = (
        f'kind: "{MARK}"\nmetadata: {{name: "<svg onload=window.hacked=1>"}}\nspec: {{template: {{spec: '
        '{containers: [{name: "<b>", image: "<script>x"}]}}}'
    )
    page.get_by_label("Manifest or image").fill(text)
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("main h2").last).to_contain_text(MARK)
    assert page.evaluate("window.hacked") is None


BOMBS = [
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]" for n in range(8)),
    "[" * 5000,
    "{" * 5000,
    "!!python/object/apply:os.system [id]",
    "a: !!binary xxxx\n---\n- {}\n",
]


def test_reports_a_manifest_that_can_not_be_parsed(alice):
    for text in BOMBS:
        page = alice.visit("/explain")
        page.get_by_label("Manifest or image").fill(text)
        page.get_by_role("button", name="Explain").click()
        expect(page.get_by_role("alert")).to_be_visible()


def test_a_form_of_another_site_changes_nothing(open_browser, cookies, served, fleet):
    person = open_browser(storage_state=cookies["alice"], strict=False)
    page = person.page
    page.route(
        "https://evil.example.com/",
        lambda route: route.fulfill(
            content_type="text/html",
            body="<form method=post "
            f"action='{served.origin}/registries/payments/ecr-prod/do/rotate'><button>go</button></form>",
        ),
    )
    page.goto("https://evil.example.com/")
    page.get_by_role("button", name="go").click()
    page.wait_for_url(served.origin + "/**")
    expect(
        page.get_by_role("heading", name="Refused")
        .or_(page.get_by_role("heading", name="Sign in"))
        .or_(page.get_by_role("heading", name="Your session"))
    ).to_be_visible()
    assert fleet.store.request(Reference("payments", "ecr-prod")) is None
