"""The token server behind a Lambda function URL, with events as AWS sends them."""

from __future__ import annotations

import json

import pytest
from edges.test_console_handler import event


@pytest.fixture
def app(load, monkeypatch, tmp_path):
    (tmp_path / "token").write_text("e30.e30.x")
    monkeypatch.setenv("REGCRED_VAULT_ADDR", "http://127.0.0.1:9")
    monkeypatch.setenv("REGCRED_VAULT_TOKEN_FILE", str(tmp_path / "token"))
    return load("token")


def test_it_is_alive_without_vault(app, context):
    assert app.handler(event("/healthz"), context)["statusCode"] == 200


def test_a_client_without_a_login_is_asked_for_one(app, context):
    answer = app.handler(event("/token", query="service=x&scope=repository:a/b:pull"), context)
    assert answer["statusCode"] == 401
    assert answer["headers"]["www-authenticate"].startswith("Basic")


def test_while_vault_is_away_clients_are_told_when_to_come_again(app, context):
    asked = event("/token", query="service=x")
    asked["headers"]["authorization"] = "Basic YTpi"
    answer = app.handler(asked, context)
    assert (answer["statusCode"], int(answer["headers"]["retry-after"]) > 0) == (503, True)
    assert "Vault" in json.loads(answer["body"])["errors"][0]["message"]


def test_a_setting_that_is_wrong_is_named(load, context, monkeypatch):
    monkeypatch.delenv("REGCRED_VAULT_ADDR", raising=False)
    with pytest.raises(Exception, match="REGCRED_VAULT_ADDR"):
        load("token").handler(event("/healthz"), context)
