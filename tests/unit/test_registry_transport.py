"""Answers that break off in the middle, as vendors and proxies give them, are passing failures and no bugs."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from regcred.errors import TransientError
from regcred.registry import transport


class Breaking(BaseHTTPRequestHandler):
    """Answers by path: too short a body, a body that is not what its header says, a good one."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100" if self.path == "/short" else "8")
        if self.path == "/encoded":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(b'{"a": 1}')
        self.close_connection = self.path == "/short"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["/short", "/encoded"])
def test_a_body_that_breaks_off_or_cannot_be_decoded_is_tried_again_later(origin: str, path: str) -> None:
    with pytest.raises(TransientError, match=r"127\.0\.0\.1"):
        transport.send("GET", origin + path)


def test_a_good_body_is_read_after_a_broken_one(origin: str) -> None:
    with pytest.raises(TransientError):
        transport.send("GET", f"{origin}/short")
    assert transport.send("GET", f"{origin}/good").fields(what="the test") == {"a": 1}
