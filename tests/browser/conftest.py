"""A real browser, the console, and OpenBao with the real policies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request

from console import chromium, seed, serving
from console.pages import sign_in
from console.serving import Served
from realparts.vault import temporary_vault

SOON = 15_000
"""How long a page may take on a busy machine, in milliseconds."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Without it, tests are skipped, or fail under CI=true."""
    try:
        chromium.find()
    except RuntimeError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    with chromium.launched() as launched:
        yield launched


@pytest.fixture(scope="session")
def fleet() -> Iterator[seed.Seeded]:
    """OpenBao with the demo's fleet: alice is admin of payments, bob of search, petra of the platform."""
    with temporary_vault() as vault:
        yield seed.prepare(vault)


@pytest.fixture(scope="session")
def served(fleet: seed.Seeded) -> Iterator[Served]:
    """The console over TLS, without a cache of lists, so that a test sees its own changes."""
    nothing = timedelta(0)
    with serving.served(fleet.vault.addr, fresh=nothing, stale=nothing) as served:
        yield served


@dataclass
class Person:
    """Somebody with a browser."""

    page: Page
    origin: str
    foreign: list[str] = field(default_factory=list)
    """Addresses of requests to other origins."""
    errors: list[str] = field(default_factory=list)
    """What the browser reported: policy violations and errors of scripts."""

    def visit(self, path: str) -> Page:
        self.page.goto(self.origin + path)
        return self.page

    def sign_in(self, name: str, password: str = seed.PASSWORD, *, method: str = "With a user name") -> Page:
        sign_in(self.page, self.origin, name, password, method=method)
        return self.page


@pytest.fixture
def open_browser(browser: Browser, served: Served) -> Iterator[Callable[..., Person]]:
    """A function that opens a separate browser session.

    After the test, a strict session must have no request to another origin and no error in the browser.
    """
    contexts: list[BrowserContext] = []
    people: list[Person] = []

    def open_session(*, to: Served | None = None, strict: bool = True, **options: object) -> Person:
        context = browser.new_context(ignore_https_errors=True, **options)  # type: ignore[arg-type]
        context.set_default_timeout(SOON)
        contexts.append(context)
        person = Person(context.new_page(), (to or served).origin)

        def watch(request: Request) -> None:
            if not request.url.startswith(person.origin + "/"):
                person.foreign.append(request.url)

        context.on("request", watch)
        context.on("weberror", lambda error: person.errors.append(str(error.error)))
        context.on(
            "console", lambda message: _note(person, message.text) if message.type == "error" else None
        )
        if strict:
            people.append(person)
        return person

    yield open_session
    for context in contexts:
        context.close()
    for person in people:
        assert person.foreign == []
        assert person.errors == []


def _note(person: Person, text: str) -> None:
    # Tests open error pages on purpose, and a test that starts its own console stops it before the browser.
    if not any(known in text for known in ("status of 4", "status of 5", "ERR_CONNECTION_REFUSED")):
        person.errors.append(text)


@pytest.fixture(scope="session")
def cookies(browser: Browser, served: Served) -> dict[str, object]:
    """For each person, the cookies of a session that is signed in."""
    states: dict[str, object] = {}
    for name in seed.PEOPLE:
        context = browser.new_context(ignore_https_errors=True)
        person = Person(context.new_page(), served.origin)
        person.sign_in(name)
        person.page.wait_for_url(served.origin + "/")
        states[name] = context.storage_state()
        context.close()
    return states


@pytest.fixture
def alice(open_browser: Callable[..., Person], cookies: dict[str, object]) -> Person:
    """The admin of payments, signed in."""
    return open_browser(storage_state=cookies["alice"])


@pytest.fixture
def bob(open_browser: Callable[..., Person], cookies: dict[str, object]) -> Person:
    """The admin of search, signed in."""
    return open_browser(storage_state=cookies["bob"])


@pytest.fixture
def petra(open_browser: Callable[..., Person], cookies: dict[str, object]) -> Person:
    """The platform admin, signed in."""
    return open_browser(storage_state=cookies["petra"])
