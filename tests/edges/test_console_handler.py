"""The console behind a Lambda function URL, with the events that AWS sends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import NoReturn

import pytest
import uvicorn
from fakes.collector import Collector, collecting, switch_off
from fakes.function_url import event
from starlette.responses import PlainTextResponse

from regcred import tracing
from regcred.console.handlers import sign_in
from regcred.console.sealing_keys import VaultKeys


@pytest.fixture
def app(load, monkeypatch):
    monkeypatch.setenv("REGCRED_VAULT_ADDR", "http://127.0.0.1:9")
    return load("console")


def test_a_page_redirects_a_user_without_a_session_to_the_sign_in_page(app, context):
    answer = app.handler(event("/clusters"), context)
    assert answer["statusCode"] == 303
    assert answer["headers"]["location"] == "/sign-in?next=%2Fclusters"
    assert "frame-ancestors 'none'" in answer["headers"]["content-security-policy"]


def test_the_sign_in_page_sets_its_cookie_in_the_answer_of_the_function(app, context, monkeypatch):
    monkeypatch.setattr(VaultKeys, "all", lambda _self: [b"x" * 43 + b"="])
    monkeypatch.setattr(VaultKeys, "reload", lambda _self: False)
    answer = app.handler(event("/sign-in"), context)
    assert answer["statusCode"] == 200
    assert any(cookie.startswith("__Host-regcred-sign-in=") for cookie in answer["cookies"])


def test_while_vault_is_down_the_page_says_so_and_no_session_counts(app, context):
    answer = app.handler(event("/", cookies=["__Host-regcred=gAAAAABtampered"]), context)
    assert answer["statusCode"] == 503
    assert "can&#39;t reach Vault" in answer["body"] or "can't reach Vault" in answer["body"]


def test_an_error_about_a_wrong_setting_names_the_variable(load, context, monkeypatch):
    monkeypatch.setenv("REGCRED_VAULT_ADDR", "http://127.0.0.1:9")
    monkeypatch.setenv("REGCRED_CONSOLE_SIGN_IN", "saml")
    with pytest.raises(Exception, match="REGCRED_CONSOLE_SIGN_IN"):
        load("console").handler(event("/"), context)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the environment names."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        try:
            yield collector
        finally:
            switch_off()


def traced_page(*_: object) -> PlainTextResponse:
    with tracing.span("request"):
        return PlainTextResponse("ok")


def test_the_function_sends_its_spans_before_it_answers(collector, app, context, monkeypatch):
    monkeypatch.setattr(sign_in, "form", traced_page)
    assert app.handler(event("/sign-in"), context)["statusCode"] == 200
    assert collector.named("request").service == "regcred-console"


def test_the_server_in_a_cluster_sends_its_spans_when_a_signal_ends_it(collector, app, monkeypatch):
    def run(*_: object, **__: object) -> NoReturn:
        traced_page()
        # uvicorn sends itself the signal again after it has stopped.
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the signal did not end the server")

    monkeypatch.setenv("REGCRED_CONSOLE_URL", "https://regcred.example.com")
    monkeypatch.setenv("REGCRED_VAULT_TOKEN_FILE", "/var/run/secrets/regcred/vault-token")
    monkeypatch.setattr(uvicorn, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            app.deployed.serve()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 0
    assert collector.named("request").service == "regcred-console"
