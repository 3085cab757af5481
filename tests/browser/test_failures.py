"""When Vault is sealed, gone or slow, or a token ends in the middle of a form, the console shows a clear page
and keeps the input, except secrets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from console import seed, serving
from regcred.registry_reference import Reference

from .conftest import Person

pytestmark = pytest.mark.real

NOTHING = timedelta(0)


class Wire:
    """A TCP proxy in front of Vault that a test can cut or block."""

    def __init__(self, target: str) -> None:
        self._target = (urlsplit(target).hostname, urlsplit(target).port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.blocked = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target)  # type: ignore[arg-type]
            except OSError:
                return
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self.blocked.is_set():
                    continue
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                end.close()

    def cut(self) -> None:
        """Close all connections and stop listening."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        self._server.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def console_behind(wire: Wire) -> Iterator[serving.Served]:
    with serving.served(wire.address, fresh=NOTHING, stale=NOTHING, timeout=(1.0, 1.0)) as served:
        yield served


def fill_form(person: Person) -> Page:
    page = person.visit("/registries/add?provider=basic&project=payments")
    page.locator("[name=registry]").fill("typed-by-hand")
    page.locator("[name=hosts]").fill("nexus.example.com:8443")
    page.locator("[name='secret.username']").fill("robot")
    page.locator("[name='secret.password']").fill("the-typed-secret")
    return page


def submit(page: Page) -> None:
    page.get_by_role("button", name="Add and request").click()


def test_the_form_stays_when_vault_is_sealed_before_it_is_sent(alice, fleet):
    page = fill_form(alice)
    fleet.vault.seal()
    try:
        submit(page)
        expect(page.get_by_role("alert")).to_contain_text("sealed")
        expect(page.locator("[name=registry]")).to_have_value("typed-by-hand")
        assert "the-typed-secret" not in page.content()
    finally:
        fleet.vault.unseal()
    page.get_by_role("button", name="Send again").click()
    expect(page.locator("[name=registry]")).to_have_value("typed-by-hand")
    expect(page.locator("[name=hosts]")).to_have_value("nexus.example.com:8443")
    page.locator("[name='secret.username']").fill("robot")
    page.locator("[name='secret.password']").fill("the-typed-secret")
    submit(page)
    expect(page.get_by_role("heading", name="typed-by-hand")).to_be_visible()
    fleet.store.remove_definition(Reference("payments", "typed-by-hand"))


@pytest.mark.parametrize("how", ["gone", "slow"])
def test_reports_that_vault_is_gone_or_slow_and_keeps_the_form(open_browser, fleet, how):
    wire = Wire(fleet.vault.addr)
    with console_behind(wire) as served:
        person = open_browser(to=served)
        person.sign_in("alice")
        person.page.wait_for_url(served.origin + "/")
        page = fill_form(person)
        if how == "gone":
            wire.cut()
        else:
            wire.blocked.set()
        submit(page)
        expect(page.get_by_role("alert")).to_contain_text("Vault")
        expect(page.get_by_role("button", name="Send again")).to_be_visible()
        expect(page.locator("[name=registry]")).to_have_value("typed-by-hand")
        for path in ("/", "/registries", "/explain"):
            person.visit(path)
            expect(page.get_by_role("alert")).to_contain_text("Vault")
    wire.cut()


def test_the_sign_in_page_reports_that_vault_is_gone(open_browser, fleet):
    wire = Wire(fleet.vault.addr)
    wire.cut()
    with console_behind(wire) as served:
        person = open_browser(to=served)
        person.sign_in("alice")
        expect(person.page.get_by_role("alert")).to_contain_text("Vault did not check your input")


def test_the_form_stays_when_the_token_ends_before_it_is_sent(open_browser, fleet):
    person = open_browser()
    before = accessors(fleet)
    person.sign_in("alice")
    person.page.wait_for_url(person.origin + "/")
    page = fill_form(person)
    for accessor in accessors(fleet) - before:  # has the same effect as expiry, without waiting
        fleet.vault.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    submit(page)
    expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
    assert "the-typed-secret" not in page.content()
    page.get_by_role("link", name="Sign in again").click()
    form = page.locator("details", has_text="With a user name")
    form.get_by_label("user name").fill("alice")
    form.get_by_label("password").fill(seed.PASSWORD)
    form.get_by_role("button", name="Sign in").click()
    expect(page.locator("[name=registry]")).to_have_value("typed-by-hand")
    expect(page.locator("[name=hosts]")).to_have_value("nexus.example.com:8443")
    expect(page.locator("[name='secret.password']")).to_have_value("")


def accessors(fleet: seed.Seeded) -> set[str]:
    """The accessors of all tokens in Vault."""
    return set(fleet.vault.call("LIST", "auth/token/accessors")["data"]["keys"])
