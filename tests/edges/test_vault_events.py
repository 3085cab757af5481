"""Vault's events, from a server that replays what Vault's event bus was seen to print, and refuses as both servers do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from fakes.sync_world import until
from pydantic import SecretStr

from regcred.errors import TransientError
from regcred.vault.events import EVERYTHING, Patience, changed_path, changes
from regcred.vault.http import Server

QUICK = Patience(*(Patience().first / 100,) * 3)
EVENT = {
    "id": "2d5b2f1c-7a6e-4c53-8a44-1d1f6d7f7f10",
    "source": "vault://node1",
    "specversion": "1.0",
    "type": "*",
    "data": {
        "event": {
            "id": "2d5b2f1c-7a6e-4c53-8a44-1d1f6d7f7f10",
            "metadata": {
                "current_version": "3",
                "data_path": "regcred/data/credentials/payments/_index",
                "modified": "true",
                "oldest_version": "1",
                "operation": "data-write",
                "path": "regcred/data/credentials/payments/_index",
            },
        },
        "event_type": "kv-v2/data-write",
        "plugin_info": {
            "mount_class": "secret",
            "mount_accessor": "kv_5dc4d18e",
            "mount_path": "regcred/",
            "plugin": "kv",
            "plugin_version": "v0.25.0+builtin",
            "version": "2",
        },
    },
    "datacontentype": "application/cloudevents",
    "time": "2026-11-24T12:00:00Z",
}


def event(path: str, *, mount: str = "regcred/") -> str:
    copy = json.loads(json.dumps(EVENT))
    copy["data"]["event"]["metadata"].update(path=path, data_path=path)
    copy["data"]["plugin_info"]["mount_path"] = mount
    return json.dumps(copy)


class EventServer:
    """Serves the subscription; ``refusals`` are answered first, one handshake each."""

    def __init__(self) -> None:
        self.refusals: list[int] = []
        self.handshakes: list[dict[str, str]] = []
        self.sockets: list[web.WebSocketResponse] = []

    async def subscribe(self, request: web.Request) -> web.StreamResponse:
        self.handshakes.append(dict(request.headers))
        assert request.rel_url.raw_path == "/v1/sys/events/subscribe/kv-v2%2F*"
        assert request.query["json"] == "true"
        if self.refusals:
            status = self.refusals.pop(0)
            reason = "1 error occurred:\n\t* unsupported path\n\n" if status == 404 else "permission denied"
            return web.json_response({"errors": [reason]}, status=status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for _ in socket:
            pass
        return socket

    async def send(self, text: str) -> None:
        await self.sockets[-1].send_str(text)


@pytest.fixture
async def served() -> AsyncIterator[tuple[EventServer, Server]]:
    events = EventServer()
    app = web.Application()
    app.router.add_get("/v1/sys/events/subscribe/{kind:.*}", events.subscribe)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield events, Server(f"http://127.0.0.1:{port}", namespace="team")
    await runner.cleanup()


class Subscriber:
    def __init__(self, server: Server, *, tokens: list[str | Exception] | None = None) -> None:
        self.paths: list[str] = []
        self.told: list[str] = []
        self._tokens = tokens or []
        self._server = server
        self.task = asyncio.create_task(self._follow())

    async def _token(self) -> SecretStr:
        token = self._tokens.pop(0) if self._tokens else "hvs.token"
        if isinstance(token, Exception):
            raise token
        return SecretStr(token)

    async def _follow(self) -> None:
        async for path in changes(
            self._server, self._token, mount="regcred", patience=QUICK, told=self.told.append
        ):
            self.paths.append(path)


async def test_paths_of_our_mount_are_brought_and_others_passed_over(served) -> None:
    events, server = served
    subscriber = Subscriber(server)
    await until(lambda: subscriber.paths == [EVERYTHING])
    await events.send(event("regcred/data/credentials/payments/_index"))
    await events.send(event("secret/data/other", mount="secret/"))
    await events.send("{not json")
    await events.send(json.dumps({"data": {"event": None}}))
    await events.send(event("regcred/metadata/platform/clusters/c1"))
    await until(lambda: len(subscriber.paths) == 3)
    assert subscriber.paths[1:] == ["credentials/payments/_index", "platform/clusters/c1"]
    [headers] = events.handshakes
    assert headers["X-Vault-Token"] == "hvs.token"
    assert headers["X-Vault-Namespace"] == "team"
    subscriber.task.cancel()


async def test_a_break_is_resumed_with_a_look_at_everything(served) -> None:
    events, server = served
    subscriber = Subscriber(server)
    await until(lambda: events.sockets)
    await events.sockets[-1].close()
    await until(lambda: len(events.sockets) == 2)
    await until(lambda: subscriber.paths == [EVERYTHING, EVERYTHING])
    assert subscriber.told == ["connected", "broken", "connected"]
    subscriber.task.cancel()


@pytest.mark.parametrize("status", [404, 403])
async def test_a_server_without_events_is_asked_again_only_rarely(served, status: int) -> None:
    events, server = served
    events.refusals = [status]
    subscriber = Subscriber(server)
    await until(lambda: subscriber.told == ["refused", "connected"])
    subscriber.task.cancel()
    assert Patience().refused.total_seconds() == 3600


async def test_a_sealed_server_or_a_failed_sign_in_is_tried_again(served) -> None:
    events, server = served
    events.refusals = [503]
    subscriber = Subscriber(server, tokens=[TransientError("sealed")])
    await until(lambda: subscriber.told == ["broken", "broken", "connected"])
    subscriber.task.cancel()


def test_every_kind_of_change_leads_to_the_same_document() -> None:
    for kind in ("data", "metadata", "destroy", "delete"):
        assert (
            changed_path(event(f"regcred/{kind}/credentials/p/_index"), "regcred") == "credentials/p/_index"
        )


@pytest.mark.real
async def test_openbao_refuses_as_the_recorded_servers_do(vault_stack) -> None:
    told: list[str] = []

    async def token() -> SecretStr:
        return SecretStr(vault_stack.vault.root_token)

    async def follow() -> None:
        async for _ in changes(Server(vault_stack.vault.addr), token, mount="regcred", told=told.append):
            pass

    task = asyncio.create_task(follow())
    await until(lambda: told)
    task.cancel()
    assert told == ["refused"]
