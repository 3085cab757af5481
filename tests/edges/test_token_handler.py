"""The token server behind a Lambda function URL, with the events that AWS sends."""

from __future__ import annotations

import json

import pytest
from fakes.function_url import event


@pytest.fixture
def app(load, monkeypatch, tmp_path):
    (tmp_path / "token").write_text("e30.e30.x")
    monkeypatch.setenv("REGCRED_VAULT_ADDR", "http://127.0.0.1:9")
    monkeypatch.setenv("REGCRED_VAULT_TOKEN_FILE", str(tmp_path / "token"))
    return load("token")


def test_the_health_check_succeeds_without_vault(app, context):
    assert app.handler(event("/healthz"), context)["statusCode"] == 200


def test_a_client_without_a_login_gets_a_basic_challenge(app, context):
    answer = app.handler(event("/token", query="service=x&scope=repository:a/b:pull"), context)
    assert answer["statusCode"] == 401
    assert answer["headers"]["www-authenticate"].startswith("Basic")


def test_while_vault_is_down_the_answer_says_when_to_try_again(app, context):
    request = event("/token", query="service=x")
    request["headers"]["authorization"] = "Basic YTpi"
    answer = app.handler(request, context)
    assert (answer["statusCode"], int(answer["headers"]["retry-after"]) > 0) == (503, True)
    assert "Vault" in json.loads(answer["body"])["errors"][0]["message"]


def test_an_error_about_a_missing_setting_names_the_variable(load, context, monkeypatch):
    monkeypatch.delenv("REGCRED_VAULT_ADDR", raising=False)
    with pytest.raises(Exception, match="REGCRED_VAULT_ADDR"):
        load("token").handler(event("/healthz"), context)
