"""The subscription to Vault's events, with a server that sends recorded events of Vault and refuses as Vault
and OpenBao do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import zlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from fakes.sync_world import until
from fakes.vault_events import EventServer, event, granted
from pydantic import SecretStr

from regcred.errors import TransientError
from regcred.vault.events import EVENT_MAX, EVERYTHING, ReconnectDelays, changed_path, changes
from regcred.vault.http import Server
from regcred.vault.platform import default_directory, load

QUICK = ReconnectDelays(*(ReconnectDelays().first / 100,) * 3)


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
        self.states: list[str] = []
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
            self._server, self._token, mount="regcred", delays=QUICK, on_state=self.states.append
        ):
            self.paths.append(path)


async def test_changes_of_our_mount_are_delivered_and_others_ignored(served) -> None:
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


async def test_after_a_broken_connection_everything_counts_as_changed(served) -> None:
    events, server = served
    subscriber = Subscriber(server)
    await until(lambda: events.sockets)
    await events.sockets[-1].close()
    await until(lambda: len(events.sockets) == 2)
    await until(lambda: subscriber.paths == [EVERYTHING, EVERYTHING])
    assert subscriber.states == ["connected", "broken", "connected"]
    subscriber.task.cancel()


@pytest.mark.parametrize("status", [404, 403])
async def test_a_server_that_refuses_the_subscription_is_tried_again_after_an_hour(
    served, status: int
) -> None:
    events, server = served
    events.refusals = [status]
    subscriber = Subscriber(server)
    await until(lambda: subscriber.states == ["refused", "connected"])
    subscriber.task.cancel()
    assert ReconnectDelays().refused.total_seconds() == 3600


async def test_a_sealed_server_or_a_failed_sign_in_is_tried_again(served) -> None:
    events, server = served
    events.refusals = [503]
    subscriber = Subscriber(server, tokens=[TransientError("sealed")])
    await until(lambda: subscriber.states == ["broken", "broken", "connected"])
    subscriber.task.cancel()


def test_each_kind_of_change_names_the_path_of_its_document() -> None:
    for kind in ("data", "metadata", "destroy", "delete"):
        assert (
            changed_path(event(f"regcred/{kind}/credentials/p/_index"), "regcred") == "credentials/p/_index"
        )


@pytest.mark.real
async def test_openbao_refuses_the_subscription(vault_stack) -> None:
    states: list[str] = []

    async def token() -> SecretStr:
        return SecretStr(vault_stack.vault.root_token)

    async def follow() -> None:
        async for _ in changes(
            Server(vault_stack.vault.addr), token, mount="regcred", on_state=states.append
        ):
            pass

    task = asyncio.create_task(follow())
    await until(lambda: states)
    task.cancel()
    assert states == ["refused"]


@pytest.fixture
def shipped() -> dict[str, str]:
    """The policies of cluster c1's sync, which may read the project payments, with Vault's templates filled
    in."""
    platform = load(default_directory())
    return {
        name: platform.policy(name, project="payments").replace("{{identity.entity.metadata.cluster}}", "c1")
        for name in ("sync", "project-reader", "sync-events", "project-reader-events")
    }


async def test_with_the_shipped_policies_sync_gets_events_about_its_own_documents_only(
    served, shipped: dict[str, str]
) -> None:
    events, server = served
    events.policies = list(shipped.values())
    subscriber = Subscriber(server)
    await until(lambda: subscriber.paths == [EVERYTHING])
    for path in (
        "regcred/data/credentials/search/hub",
        "regcred/data/platform/clusters/c2",
        "regcred/data/upstream/payments/hub",
        "regcred/data/credentials/payments/_index",
        "regcred/metadata/credentials/payments/hub",
        "regcred/data/platform/clusters/c1",
    ):
        await events.happen(path)
    await until(lambda: len(subscriber.paths) == 4)
    assert subscriber.paths[1:] == [
        "credentials/payments/_index",
        "credentials/payments/hub",
        "platform/clusters/c1",
    ]
    for path in ("regcred/data/platform/clusters/c1", "regcred/data/credentials/payments/hub"):
        assert granted(events.policies, path), "the policies for events must not hide the documents"
    subscriber.task.cancel()


async def test_without_the_policies_for_events_the_subscription_is_refused(
    served, shipped: dict[str, str]
) -> None:
    events, server = served
    events.policies = [shipped["sync"], shipped["project-reader"]]
    subscriber = Subscriber(server)
    await until(lambda: "refused" in subscriber.states)
    assert subscriber.paths == []
    subscriber.task.cancel()


async def test_a_cluster_that_may_subscribe_but_reads_no_project_gets_no_events_about_projects(
    served, shipped: dict[str, str]
) -> None:
    events, server = served
    events.policies = [shipped["sync"], shipped["sync-events"]]
    subscriber = Subscriber(server)
    await until(lambda: subscriber.paths == [EVERYTHING])
    await events.happen("regcred/data/credentials/payments/_index")
    await events.happen("regcred/data/platform/clusters/c1")
    await until(lambda: len(subscriber.paths) == 2)
    assert subscriber.paths[1:] == ["platform/clusters/c1"]
    subscriber.task.cancel()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed_with_the_token(served, status: int) -> None:
    events, server = served
    stolen: list[dict[str, str]] = []

    async def steal(request: web.Request) -> web.Response:
        stolen.append(dict(request.headers))
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", steal)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    events.redirect = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/sys/events/subscribe/kv-v2%2F*?json=true"
    events.redirect_status = status
    subscriber = Subscriber(server)
    await until(lambda: "broken" in subscriber.states)
    assert stolen == []
    subscriber.task.cancel()
    await runner.cleanup()


async def test_an_event_that_is_too_large_ends_the_connection_and_a_deeply_nested_one_is_ignored(
    served,
) -> None:
    events, server = served
    subscriber = Subscriber(server)
    await until(lambda: subscriber.paths == [EVERYTHING])
    await events.send("[" * 60_000)
    await events.send(event("regcred/data/credentials/payments/_index"))
    await until(lambda: len(subscriber.paths) == 2)
    await events.send(" " * (EVENT_MAX + 1))
    await until(lambda: subscriber.states[1:2] == ["broken"])
    subscriber.task.cancel()


BOMB = zlib.compress(b"a" * 20_000_000, wbits=-15)
HOSTILE_FRAMES = {
    "a frame that claims a terabyte": (b"\x81\x7f" + (1 << 40).to_bytes(8, "big"), b"a" * 65_536),
    "fragments without end": (b"\x01\x01a", b"\x00\x7e\x03\xe8" + b"a" * 1000),
    "a compressed frame": (b"\xc1\x7f" + len(BOMB).to_bytes(8, "big") + BOMB, b""),
    "a ping that is too long": (b"\x89\x7e\x03\xe8" + b"p" * 1000, b""),
    "a masked frame of a kind that is not defined": (b"\x83\x81\x00\x00\x00\x00a", b""),
}
"""The bytes that a server sends first, and those that it then repeats (RFC 6455, section 5.2)."""


@pytest.mark.parametrize("name", HOSTILE_FRAMES)
async def test_endless_or_invalid_frames_end_the_connection(name: str) -> None:
    first, more = HOSTILE_FRAMES[name]
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        head = await reader.readuntil(b"\r\n\r\n")
        [key] = re.findall(rb"(?im)^sec-websocket-key: *(\S+)", head)
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            writer.write(first)
            while more and sent < 64 * 2**20:
                writer.write(more)
                await writer.drain()
                sent += len(more)
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    subscriber = Subscriber(Server(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    await until(lambda: "broken" in subscriber.states)
    assert set(subscriber.paths) <= {EVERYTHING}
    assert sent < 64 * 2**20, "the client read all bytes"
    subscriber.task.cancel()
    server.close()
