"""Receives Vault's events over a WebSocket about changed documents. Only HashiCorp Vault Enterprise has them.

Vault CE and OpenBao refuse the handshake (404; 403 without a policy on the path). Then sync only polls. The
token's policies need the capability ``read`` on the path of the subscription, and ``subscribe`` on the path
of an event: see infra/vault/policies/sync-events.hcl and project-reader-events.hcl. Contract:
https://developer.hashicorp.com/vault/docs/concepts/events
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
from pydantic import SecretStr

from regcred.errors import RegcredError
from regcred.vault.http import Server

PATH = "/v1/sys/events/subscribe/kv-v2%2F*?json=true"
"""All events of KV v2. Writes, deletions, destructions and changes of metadata have separate types."""

EVERYTHING = ""
"""Yielded instead of a path when changes may have been missed."""

REFUSED = frozenset({403, 404})
"""The statuses of a handshake with a server that has no events, or with a token that may not see them."""

EVENT_MAX = 64 * 1024
"""The maximum size of an event in bytes. Usual events have less than 2 kB. A larger one ends the
connection."""

PING = 30.0
"""Seconds between pings. A connection without a response to a ping is broken."""


@dataclass(frozen=True, slots=True)
class ReconnectDelays:
    """How long to wait before the next connection. Each wait is shortened at random by up to a half."""

    first: timedelta = timedelta(seconds=1)
    """After a broken connection. It doubles each time until a connection succeeds."""
    longest: timedelta = timedelta(minutes=2)
    refused: timedelta = timedelta(hours=1)
    """After a refusal. The server has no events, but an upgrade may add them."""


async def changes(
    server: Server,
    token: Callable[[], Awaitable[SecretStr]],
    *,
    mount: str,
    delays: ReconnectDelays = ReconnectDelays(),
    on_state: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[str]:
    """Yield the paths of documents of a mount as they change, and :data:`EVERYTHING` after each connection.

    Never ends.

    Args:
        server: The address of Vault.
        token: Returns the token for a new connection. Called for each connection.
        mount: The KV v2 mount.
        delays: How long to wait between connections.
        on_state: Called with the state of the connection: ``refused``, ``broken`` or ``connected``.
    """
    wait = delays.first
    # aiohttp follows redirects, and would send the token to the new address.
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_refuse_redirect)
    async with aiohttp.ClientSession(trust_env=True, trace_configs=[tracing]) as http:
        while True:
            try:
                async with await _connect(http, server, await token()) as socket:
                    wait = delays.first
                    on_state("connected")
                    yield EVERYTHING
                    async for message in socket:
                        if message.type is aiohttp.WSMsgType.TEXT and (
                            path := changed_path(message.data, mount)
                        ):
                            yield path
                on_state("broken")
            except aiohttp.WSServerHandshakeError as error:
                if error.status in REFUSED:
                    on_state("refused")
                    await _pause(delays.refused)
                    continue
                on_state("broken")
            except (aiohttp.ClientError, OSError, TimeoutError, RegcredError):
                on_state("broken")
            await _pause(wait)
            wait = min(wait * 2, delays.longest)


async def _connect(
    http: aiohttp.ClientSession, server: Server, token: SecretStr
) -> aiohttp.ClientWebSocketResponse:
    headers = {"X-Vault-Token": token.get_secret_value()}
    if server.namespace:
        headers["X-Vault-Namespace"] = server.namespace
    trust = ssl.create_default_context(cafile=server.ca_file) if server.ca_file else True
    return await http.ws_connect(
        f"{server.addr.rstrip('/')}{PATH}", headers=headers, heartbeat=PING, ssl=trust, max_msg_size=EVENT_MAX
    )


async def _refuse_redirect(*_: object) -> None:
    raise aiohttp.ClientError("redirects are not followed")


async def _pause(span: timedelta) -> None:
    await asyncio.sleep(span.total_seconds() * random.uniform(0.5, 1))  # noqa: S311 - spreads load, guards nothing


def changed_path(message: str | bytes, mount: str) -> str | None:
    """The path of an event's document in the mount; None for another mount or an unreadable event.

    Args:
        message: The event, a CloudEvent in JSON.
        mount: The KV v2 mount.
    """
    try:
        data = json.loads(message)["data"]
        metadata = data["event"]["metadata"]
        path = metadata.get("data_path") or metadata["path"]
        where = str(data["plugin_info"]["mount_path"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(path, str) or where.strip("/") != mount.strip("/"):
        return None
    inner = path.removeprefix(f"{mount.strip('/')}/")
    for kind in ("data/", "metadata/", "destroy/", "delete/", "undelete/"):
        inner = inner.removeprefix(kind)
    return inner
