"""Every program uses the Vault namespace of its settings (OpenBao, Vault Enterprise)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from regcred.settings import DispatchSettings, RotateSettings, TokenServerSettings
from regcred.vault import kv2
from regcred.vault.http import Server
from regcred.wiring import aws
from regcred.wiring.cli import connection
from regcred.wiring.cli import sync as sync_command
from regcred.wiring.console.settings import ConsoleSettings
from regcred.wiring.sync import vault_server
from regcred.wiring.sync.settings import SyncSettings
from regcred.wiring.token import token_service

ADDR = "https://vault.example.com:8200"
GIVEN = {"REGCRED_VAULT_ADDR": ADDR, "REGCRED_VAULT_NAMESPACE": "team/eu"}
CONSOLE = {"REGCRED_CONSOLE_URL": "https://console.example.com"}


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    """The servers that a program connects to."""
    found: list[Server] = []

    def keep(server: Server, *_: object, **__: object) -> MagicMock:
        found.append(server)
        return MagicMock()

    monkeypatch.setattr(kv2, "connect", keep)
    monkeypatch.setattr(kv2, "signed_in", keep)
    return found


def test_the_functions_use_the_namespace(servers: list[Server]) -> None:
    aws.store(RotateSettings.load(GIVEN | {"REGCRED_VAULT_ROLE": "rotate", "REGCRED_EVENT_BUS": "regcred"}))
    queue = {"REGCRED_VAULT_ROLE": "dispatch", "REGCRED_QUEUE_URL": "https://sqs/queue.fifo"}
    aws.store(DispatchSettings.load(GIVEN | queue))
    assert [server.namespace for server in servers] == ["team/eu"] * 2


def test_the_token_server_uses_the_namespace(servers: list[Server]) -> None:
    token_service(TokenServerSettings.load(GIVEN | {"REGCRED_VAULT_TOKEN_FILE": "/none"}))
    assert [server.namespace for server in servers] == ["team/eu"]


def test_the_console_uses_the_namespace() -> None:
    assert ConsoleSettings.load(GIVEN | CONSOLE).server("").namespace == "team/eu"


def test_sync_uses_the_namespace() -> None:
    settings = SyncSettings.load(GIVEN | {"REGCRED_CLUSTER": "c1"})
    assert vault_server(settings).namespace == "team/eu"


def test_the_command_line_uses_the_namespace_of_the_vault_command(tmp_path: Path) -> None:
    environment = {"VAULT_ADDR": ADDR, "VAULT_TOKEN": "t", "VAULT_NAMESPACE": "team/eu"}
    assert connection(environment, tmp_path).server.namespace == "team/eu"


@pytest.mark.parametrize("name", ["VAULT_NAMESPACE", "REGCRED_VAULT_NAMESPACE"])
def test_sync_on_the_command_line_uses_the_namespace(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    used: list[SyncSettings] = []

    async def once(settings: SyncSettings, **_: object) -> SimpleNamespace:
        used.append(settings)
        return SimpleNamespace(failures=[])

    monkeypatch.setattr(sync_command, "sync_once", once)
    monkeypatch.setattr(sync_command, "set_up_logging", lambda _: None)
    for other in ("VAULT_NAMESPACE", "REGCRED_VAULT_NAMESPACE"):
        monkeypatch.delenv(other, raising=False)
    given = {"REGCRED_CLUSTER": "c1", "VAULT_ADDR": ADDR, "VAULT_TOKEN": "t", name: "team/eu"}
    assert sync_command.run_sync(given, None, "once", print) == []
    assert [vault_server(settings).namespace for settings in used] == ["team/eu"]
