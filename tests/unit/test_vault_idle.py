"""A Lambda function sleeps between two invocations. A load balancer in front of Vault may drop its
connections meanwhile without notice."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from regcred.vault import http
from regcred.vault.http import Server, VaultSession, client
from regcred.vault.kv2 import VaultKeyValue

ANSWER = b'{"request_id": "1", "data": {"version": 2, "data": {"a": "b"}, "metadata": {"version": 1}}}'


class DropsConnections(BaseHTTPRequestHandler):
    """Answers one request of each connection and resets it at the next one, as a load balancer that has
    dropped the connection."""

    protocol_version = "HTTP/1.1"
    has_answered = False

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.has_answered:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        self.has_answered = True
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@dataclass
class Clock:
    now: float = 0.0
    slept: list[float] = field(default_factory=list)


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), DropsConnections)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_write_after_a_long_idle_time_uses_a_new_connection(address: str) -> None:
    clock = Clock()
    server = Server(address)
    session = VaultSession(server, sleep=clock.slept.append, clock=lambda: clock.now)
    kv = VaultKeyValue(client(server, session))
    kv.read("rotations/payments/prod")
    clock.now += http.IDLE
    assert kv.write("rotations/payments/prod", {"document": "{}"}, cas=1) == 2
    assert clock.slept == []
