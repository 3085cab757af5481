"""Pages are accessible, fit on a phone, work by keyboard and are small."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from console.pages import PAGES

pytestmark = pytest.mark.real

SIZE_MAX = 60_000
"""Bytes of a page with its stylesheets and scripts."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("who", list(PAGES))
def test_axe_finds_no_violation(open_browser, cookies, who, scheme):
    person = open_browser(storage_state=cookies.get(who), color_scheme=scheme, bypass_csp=True)
    for path in PAGES[who]:
        person.visit(path)
        found = Axe().run(person.page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_on_error_pages(open_browser, cookies, scheme):
    person = open_browser(storage_state=cookies["alice"], color_scheme=scheme, bypass_csp=True)

    def check() -> None:
        found = Axe().run(person.page)
        assert found.violations_count == 0, f"{person.page.url}: {found.generate_report()}"

    page = person.visit("/registries/add?provider=basic")
    page.get_by_role("button", name="Add and request").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check()
    page = person.visit("/explain")
    page.get_by_label("Manifest or image").fill("nexus.example.com:8443/team/side:2")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("article")).to_be_visible()
    check()
    page = person.visit("/registries/payments/nexus")
    page.evaluate("document.querySelectorAll('[name=csrf]').forEach(field => { field.value = 'stale' })")
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("heading", name="Send the form again")).to_be_visible()
    check()
    page = person.visit("/registries/add?provider=basic")
    page.locator("[name=registry]").fill("typed")
    page.context.clear_cookies()
    page.get_by_role("button", name="Add and request").click()
    expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
    check()


@pytest.mark.parametrize("who", list(PAGES))
def test_pages_fit_the_width_of_a_phone(open_browser, cookies, who):
    person = open_browser(storage_state=cookies.get(who), viewport={"width": 360, "height": 740})
    for path in PAGES[who]:
        page = person.visit(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        for part in page.locator(".copyable pre, .history").all():
            width = part.evaluate("part => part.scrollWidth - part.parentElement.clientWidth")
            assert width <= 0, f"{path}: an annotation or the history is cut off"


def test_a_phone_shows_the_state_of_registries_and_clusters_without_scrolling(open_browser, cookies):
    person = open_browser(storage_state=cookies["alice"], viewport={"width": 360, "height": 740})
    for path, shown in (("/registries", "payments/ecr-prod"), ("/clusters", "edge-1")):
        row = person.visit(path).locator("tbody tr", has=person.page.get_by_role("link", name=shown))
        box = row.locator(".state").first.bounding_box()
        assert box, path
        assert box["x"] + box["width"] <= 360, path


def test_pages_with_their_stylesheets_and_scripts_are_small(open_browser, cookies):
    person = open_browser(storage_state=cookies["alice"])
    page = person.visit("/")
    files = page.locator("link[rel=stylesheet], script[src]")
    paths = [item.get_attribute("href") or item.get_attribute("src") for item in files.all()]
    loaded = sum(len(page.request.get(f"{person.origin}{path}").body()) for path in paths)
    assert loaded > 10_000
    for path in PAGES["alice"]:
        size = len(page.request.get(person.origin + path).body()) + loaded
        assert size <= SIZE_MAX, path


def test_the_keyboard_reaches_the_copy_button(open_browser, cookies):
    person = open_browser(storage_state=cookies["alice"], permissions=["clipboard-read", "clipboard-write"])
    page = person.visit("/registries/payments/ecr-prod")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    for _ in range(20):
        if page.evaluate("document.activeElement.dataset.copy"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert "payments/ecr-prod" in page.evaluate("navigator.clipboard.readText()")


def test_times_are_in_the_readers_time_zone_with_utc_as_tooltip(open_browser, cookies):
    person = open_browser(storage_state=cookies["alice"], timezone_id="Asia/Kolkata", locale="en-GB")
    time = person.visit("/registries/payments/ecr-prod").locator("#credential ~ dl time").first
    assert "UTC" in (time.get_attribute("title") or "")
    assert "UTC" not in time.inner_text()


def test_errors_get_the_focus_and_are_linked_to_their_fields(open_browser, cookies):
    person = open_browser(storage_state=cookies["alice"])
    page = person.visit("/registries/add?provider=basic")
    page.get_by_role("button", name="Add and request").click()
    expect(page.get_by_role("alert")).to_be_focused()
    field = page.locator("[name=hosts]")
    assert field.get_attribute("aria-invalid") == "true"
    described = (field.get_attribute("aria-describedby") or "").split()
    assert "f-hosts-error" in described
