"""An unverified credential never has the state ``ok``: rotate with the real verifier, against servers on real
sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fakes.cloud import Clock, FakeAnnouncer, FakeIdentities
from fakes.key_value import FakeKeyValue
from pydantic import SecretStr

from regcred.registry import limits, transport
from regcred.registry.catalog import provider_for
from regcred.registry.parsing import parse
from regcred.registry.secret_destination import destination_text
from regcred.registry.verify import RegistryVerifier
from regcred.registry_reference import Reference
from regcred.rotate import Outcome, Rotate, RotationResult
from regcred.rotation_message import RotationMessage, RotationReason
from regcred.vault.records.declared import Action, Definition, ProjectPolicy, Request
from regcred.vault.records.index import IndexEntry, State
from regcred.vault.store import Store

PROD = Reference("payments", "prod")
PASSWORD = "s3cr3t-password"

Reply = Callable[[BaseHTTPRequestHandler], None]


def replies(status: int, body: bytes = b"", **headers: str) -> Reply:
    """Give each request this response."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def hangs(handler: BaseHTTPRequestHandler) -> None:
    threading.Event().wait(1.5)
    handler.close_connection = True


def registry(handler: BaseHTTPRequestHandler) -> None:
    """A registry that requires a Basic login and accepts ours."""
    good = handler.headers.get("Authorization", "").startswith("Basic ")
    (replies(200) if good else replies(401, WWW_Authenticate='Basic realm="r"'))(handler)


@dataclass
class Switch:
    """Gives the current ``reply``, which a test can change."""

    reply: Reply

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self.reply(handler)


@contextmanager
def server(reply: Reply) -> Iterator[str]:
    """Run a server on a free port; yield its ``host:port``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply(self)

        do_HEAD = do_POST = do_GET  # noqa: N815 - http.server looks for these names

        def log_message(self, *_: Any) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        httpd.server_close()


class World:
    """One ``basic`` registry with a static password, and rotate with the real verifier."""

    def __init__(self, host: str, **fields: object) -> None:
        self.clock = Clock()
        self.store = Store(FakeKeyValue())
        self.verb = Rotate(
            store=self.store,
            provider_for=provider_for,
            identities=FakeIdentities(),
            verifier=RegistryVerifier(),
            announcer=FakeAnnouncer(),
            now=self.clock,
            sleep=lambda seconds: self.clock.tick(seconds=seconds) and None,
        )
        self.define(host, **fields)
        self.write_password(PASSWORD)

    def write_password(self, password: str) -> None:
        secret = {"username": SecretStr("puller"), "password": SecretStr(password)}
        found = self.store.definition(PROD)
        assert found
        bound_to = destination_text(parse(found.value.content(), where="test"))
        version = self.store.upstream_version(PROD)
        self.store.write_upstream(PROD, secret, bound_to=bound_to, cas=version)

    def define(self, host: str, **fields: object) -> None:
        policy = ProjectPolicy(hosts=[host])
        self.store.change_project("payments", lambda _: policy)
        definition = Definition.model_validate({"provider": "basic", "hosts": [host], **fields})
        self.store.write_definition(PROD, definition, cas=self.store.definition_version(PROD))

    def run(self, reason: RotationReason) -> Outcome:
        report = self.verb.run(RotationMessage(project="payments", registries={"prod": reason}), owner="me")
        report.check()
        return report.outcomes[0]

    def request(self, action: Action) -> RotationResult:
        self.store.write_request(PROD, Request(action=action, requested_at=self.clock()))
        return self.run(RotationReason.REQUESTED).done

    @property
    def entry(self) -> IndexEntry:
        index = self.store.index("payments")
        assert index
        return index.value.registries["prod"]


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "READ_SECONDS", 0.5)
    monkeypatch.setattr(limits, "CALL_SECONDS", 1.0)


CASES: dict[str, tuple[Reply, str]] = {
    "not-found": (replies(404), "no registry API"),
    "a-web-page": (replies(200, b"<html>hello</html>", Content_Type="text/html"), "requires no login"),
    "throttled": (replies(429, Retry_After="7"), "429"),
    "broken": (replies(500), "500"),
    "hanging": (hangs, "did not send its whole response"),
    "open": (replies(200, b"{}", Docker_Distribution_Api_Version="registry/2.0"), "requires no login"),
    "moved": (replies(308, Location="https://other.example.com/v2/"), "a redirect is not followed"),
    "strange-scheme": (replies(401, WWW_Authenticate="Negotiate"), "neither Basic nor Bearer"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_first_credential_that_cannot_be_verified_fails_with_the_reason(case: str) -> None:
    reply, reason = CASES[case]
    with server(reply) as host:
        world = World(host)
        outcome = world.run(RotationReason.NEW)
    assert (outcome.done, outcome.error_kind) == (RotationResult.FAILING, "unverified")
    assert world.entry.state is State.FAILING
    assert reason in world.entry.error
    assert "allow_unverified" in world.entry.error
    assert world.store.credential(PROD) is None
    assert PASSWORD not in world.entry.model_dump_json()


def test_a_host_that_does_not_exist_fails_and_the_error_names_it() -> None:
    world = World("no-such-host.invalid")
    assert world.run(RotationReason.NEW).done is RotationResult.FAILING
    assert "no-such-host.invalid" in world.entry.error
    assert world.store.credential(PROD) is None


@pytest.mark.parametrize("case", ["not-found", "open", "broken"])
def test_allow_unverified_writes_the_credential_and_the_reason(case: str) -> None:
    reply, reason = CASES[case]
    with server(reply) as host:
        world = World(host, allow_unverified=True)
        assert world.run(RotationReason.NEW).done is RotationResult.ROTATED
    assert (world.entry.state, world.entry.shown_state) == (State.OK, "unverified")
    assert reason in world.entry.unverified


def test_an_unverified_credential_is_tried_again_and_written_when_the_registry_answers() -> None:
    switch = Switch(CASES["broken"][0])
    with server(switch) as host:
        world = World(host)
        assert world.run(RotationReason.NEW).done is RotationResult.FAILING
        switch.reply = registry
        world.clock.time = world.entry.next_attempt_at
        assert world.run(RotationReason.DUE).done is RotationResult.ROTATED
    assert (world.entry.shown_state, world.entry.verified, world.entry.unverified) == ("ok", "login", "")


def test_a_definition_with_a_wrong_new_host_keeps_the_last_good_credential() -> None:
    with server(registry) as host, server(CASES["not-found"][0]) as wrong:
        world = World(host)
        assert world.run(RotationReason.NEW).done is RotationResult.ROTATED
        world.define(wrong)
        world.write_password(PASSWORD)
        for _ in range(3):
            assert world.run(RotationReason.EDITED).done is RotationResult.FAILING
            world.clock.time = world.entry.next_attempt_at
        stored = world.store.credential(PROD)
        assert stored
        assert stored.value.hosts == (host,)


def test_a_new_password_that_cannot_be_verified_does_not_replace_the_good_one() -> None:
    switch = Switch(registry)
    with server(switch) as host:
        world = World(host)
        assert world.run(RotationReason.NEW).done is RotationResult.ROTATED
        switch.reply = CASES["throttled"][0]
        world.write_password("another")
        assert world.request(Action.ROTATE) is RotationResult.FAILING
        stored = world.store.credential(PROD)
        assert stored
        assert stored.value.password.get_secret_value() == PASSWORD


@pytest.mark.parametrize("case", ["broken", "hanging", "open"])
def test_an_inconclusive_check_keeps_the_state_and_reports_the_reason(case: str) -> None:
    switch = Switch(registry)
    with server(switch) as host:
        world = World(host)
        world.run(RotationReason.NEW)
        switch.reply, reason = CASES[case]
        world.clock.tick(hours=12)
        assert world.run(RotationReason.CHECK).done is RotationResult.UNCHANGED
        assert world.entry.shown_state == "ok"
        assert world.request(Action.VERIFY) is RotationResult.UNVERIFIED
        assert world.entry.shown_state == "ok"
        assert reason in world.entry.answer
        switch.reply = registry
        assert world.request(Action.VERIFY) is RotationResult.VERIFIED
        assert world.entry.answer == ""


def test_a_wrong_password_is_tried_once_because_vendors_lock_accounts() -> None:
    tried: list[str] = []

    def refuses(handler: BaseHTTPRequestHandler) -> None:
        tried.extend(handler.headers.get_all("Authorization", []))
        replies(401, WWW_Authenticate='Basic realm="r"')(handler)

    with server(refuses) as host:
        world = World(host)
        assert world.run(RotationReason.NEW).error_kind == "refused"
    assert len(tried) == 1


def test_the_next_attempt_after_an_inconclusive_check_is_soon() -> None:
    with server(CASES["broken"][0]) as host:
        world = World(host)
        world.run(RotationReason.NEW)
    assert world.entry.next_attempt_at
    assert world.entry.next_attempt_at - world.clock() <= timedelta(minutes=1)
