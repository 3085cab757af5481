"""The pages of the console by user. The browser tests check them, and `make screenshots` takes pictures."""

from __future__ import annotations

from playwright.sync_api import Page

from .seed import PASSWORD

PAGES = {
    "alice": [
        "/",
        "/registries",
        "/registries?q=nothing-matches",
        "/registries/payments/ecr-prod",
        "/registries/payments/tools",
        "/registries/payments/nexus",
        "/registries/payments/ecr-prod/edit",
        "/registries/payments/nexus/secret",
        "/registries/payments/nexus/do/revoke",
        "/registries/add",
        "/registries/add?provider=gar",
        "/registries/add?provider=ecr",
        "/annotation?ref=payments/ecr-prod&ref=payments/nexus",
        "/annotation",
        "/clusters",
        "/clusters/edge-1",
        "/projects",
        "/projects/payments",
        "/explain",
        "/no/such/page",
    ],
    "petra": [
        "/",
        "/clusters/edge-1",
        "/clusters/edge-2",
        "/projects/search",
        "/projects/search/edit",
        "/projects/add",
    ],
    "nobody": ["/", "/registries", "/projects", "/clusters"],
    "": ["/sign-in"],
}
"""By user name. The user `nobody` has no project. The empty name means that no one has signed in."""


def sign_in(
    page: Page, origin: str, name: str, password: str = PASSWORD, *, method: str = "With a user name"
) -> None:
    """Fill the form of a sign-in method, and send it."""
    page.goto(f"{origin}/sign-in")
    form = page.locator("details", has_text=method)
    if form.get_attribute("open") is None:
        form.locator("summary").click()
    form.get_by_label("user name").fill(name)
    form.get_by_label("password").fill(password)
    form.get_by_role("button", name="Sign in").click()
