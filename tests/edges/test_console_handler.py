"""The console behind a Lambda function URL, with the events that AWS sends."""

from __future__ import annotations

from typing import Any

import pytest

from regcred.console.sealing_keys import VaultKeys


def event(
    path: str, *, method: str = "GET", query: str = "", cookies: list[str] | None = None
) -> dict[str, Any]:
    """A request of a function URL (payload format 2.0).

    Contract: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
    """
    host = "abcdefg.lambda-url.eu-central-1.on.aws"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "cookies": cookies or [],
        "headers": {"host": host, "x-forwarded-proto": "https", "x-forwarded-port": "443"},
        "requestContext": {
            "domainName": host,
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "x",
            },
            "requestId": "11111111-2222-3333-4444-555555555555",
            "stage": "$default",
            "timeEpoch": 1790000000000,
        },
        "isBase64Encoded": False,
    }


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
