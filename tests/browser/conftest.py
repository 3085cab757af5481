"""A real browser in front of the console, in front of OpenBao with the real policies."""

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
    """Chromium; under CI=true it must not be missing."""
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
    """The console over TLS; lists are read anew for each page, so that a test sees what it did."""
    nothing = timedelta(0)
    with serving.served(fleet.vault.addr, fresh=nothing, stale=nothing) as served:
        yield served


@dataclass
class Person:
    """Somebody with a browser."""

    page: Page
    origin: str
    foreign: list[str] = field(default_factory=list)
    """Requests that left the origin."""
    errors: list[str] = field(default_factory=list)
    """What the browser complained of: policy violations, errors of scripts."""

    def goes(self, path: str) -> Page:
        self.page.goto(self.origin + path)
        return self.page

    def signs_in(self, name: str, password: str = seed.PASSWORD, *, method: str = "With a user name") -> Page:
        sign_in(self.page, self.origin, name, password, method=method)
        return self.page


@pytest.fixture
def arrives(browser: Browser, served: Served) -> Iterator[Callable[..., Person]]:
    """Opens a browser of its own for somebody; afterwards nothing has left the origin, and the browser
    complained of nothing."""
    contexts: list[BrowserContext] = []
    people: list[Person] = []

    def arrive(*, to: Served | None = None, strict: bool = True, **options: object) -> Person:
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

    yield arrive
    for context in contexts:
        context.close()
    for person in people:
        assert person.foreign == []
        assert person.errors == []


def _note(person: Person, text: str) -> None:
    # Pages of failures are asked for on purpose, and a console of a test's own ends before its browser.
    if not any(known in text for known in ("status of 4", "status of 5", "ERR_CONNECTION_REFUSED")):
        person.errors.append(text)


@pytest.fixture(scope="session")
def cookies(browser: Browser, served: Served) -> dict[str, object]:
    """By person, the cookies of somebody who has signed in once."""
    kept: dict[str, object] = {}
    for name in seed.PEOPLE:
        context = browser.new_context(ignore_https_errors=True)
        person = Person(context.new_page(), served.origin)
        person.signs_in(name)
        person.page.wait_for_url(served.origin + "/")
        kept[name] = context.storage_state()
        context.close()
    return kept


@pytest.fixture
def alice(arrives: Callable[..., Person], cookies: dict[str, object]) -> Person:
    """The admin of payments, signed in."""
    return arrives(storage_state=cookies["alice"])


@pytest.fixture
def bob(arrives: Callable[..., Person], cookies: dict[str, object]) -> Person:
    """The admin of search, signed in."""
    return arrives(storage_state=cookies["bob"])


@pytest.fixture
def petra(arrives: Callable[..., Person], cookies: dict[str, object]) -> Person:
    """The platform admin, signed in."""
    return arrives(storage_state=cookies["petra"])
