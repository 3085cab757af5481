"""The HTTP client of registries: broken answers, rate limits and reused connections."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest
from pydantic import SecretStr

from regcred.errors import MalformedError, RefusedError, TransientError
from regcred.registry import limits, transport
from regcred.registry.transport import Answer, Bearer


class Breaking(BaseHTTPRequestHandler):
    """Answers by path: a truncated body, a body that is not gzip as its header says, or a good body."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100" if self.path == "/short" else "8")
        if self.path == "/encoded":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(b'{"a": 1}')
        self.close_connection = self.path == "/short"

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], closed: Event | None = None) -> Iterator[str]:
    class Server(ThreadingHTTPServer):
        def shutdown_request(self, request: Any) -> None:
            super().shutdown_request(request)
            if closed:
                closed.set()

    server = Server(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def origin() -> Iterator[str]:
    with serving(Breaking) as address:
        yield address


@pytest.mark.parametrize("path", ["/short", "/encoded"])
def test_a_truncated_or_undecodable_body_is_transient(origin: str, path: str) -> None:
    with pytest.raises(TransientError, match=r"127\.0\.0\.1"):
        transport.send("GET", origin + path)


def test_after_a_broken_body_the_next_one_is_read(origin: str) -> None:
    with pytest.raises(TransientError):
        transport.send("GET", f"{origin}/short")
    assert transport.send("GET", f"{origin}/good").fields(what="the test") == {"a": 1}


class Trickling(BaseHTTPRequestHandler):
    """Sends a body byte by byte for 3 seconds, which is longer than the deadline."""

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/encoded":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        head = b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03" if self.path == "/encoded" else b""
        gone = Event()
        with suppress(OSError):
            self.wfile.write(head)
            for _ in range(60):
                self.wfile.write(b"a")
                gone.wait(0.05)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.parametrize("path", ["/plain", "/encoded"])
def test_a_body_that_arrives_byte_by_byte_ends_at_the_deadline(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CALL_SECONDS", 0.2)
    started = time.monotonic()
    with serving(Trickling) as origin, pytest.raises(TransientError, match=r"127\.0\.0\.1:\d+ did not send"):
        transport.send("GET", origin + path)
    assert time.monotonic() - started < 1.5


class Encoded(BaseHTTPRequestHandler):
    """Sends a gzip body in chunks, small or much larger than the maximum."""

    protocol_version = "HTTP/1.1"
    text = b'{"a": "' + b"x" * 100_000 + b'"}'

    def do_GET(self) -> None:
        body = gzip.compress(self.text if self.path == "/good" else b" " * (4 * transport.BODY_MAX))
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (body[:10], body[10:]):
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def test_a_gzip_body_is_decoded_up_to_the_maximum_size() -> None:
    with serving(Encoded) as origin:
        assert transport.send("GET", f"{origin}/good").body == Encoded.text
        assert len(transport.send("GET", f"{origin}/bomb").body) == transport.BODY_MAX


class Closing(BaseHTTPRequestHandler):
    """Closes a connection 0.1 seconds after its answer, without a ``Connection: close`` header."""

    protocol_version = "HTTP/1.1"
    timeout = 0.1

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def test_a_connection_that_the_server_has_closed_is_not_reused() -> None:
    closed = Event()
    with serving(Closing, closed) as origin:
        for _ in range(3):
            assert transport.send("GET", origin).status == 200
            assert closed.wait(5)
            closed.clear()


@pytest.mark.parametrize("secret", ["tok\nen", "t\u00f6k\u2192en", "tok\ren"])
def test_an_error_about_an_invalid_header_value_does_not_show_it(origin: str, secret: str) -> None:
    with pytest.raises(MalformedError, match="upstream secret") as caught:
        transport.send("GET", f"{origin}/good", auth=Bearer(SecretStr(secret)))
    with pytest.raises(MalformedError, match="upstream secret"):
        transport.send("GET", f"{origin}/good", headers={"X-Token": secret})
    assert "tok" not in str(caught.value)
    assert caught.value.__suppress_context__


NOW = {"Date": "Wed, 21 Oct 2026 07:28:00 GMT"}
RESET = {"X-RateLimit-Reset": "1792567740"}
"""A minute after NOW."""


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (Answer(403, {"X-RateLimit-Remaining": "0"}, b""), None),
        (Answer(403, {"Retry-After": "60"}, b""), timedelta(seconds=60)),
        (Answer(400, {}, b'{"Code": "Throttling.User", "Message": "x"}'), None),
        (Answer(429, {"Retry-After": "9" * 5000}, b""), None),
        (Answer(429, {"Retry-After": "9" * 30}, b""), None),
        (Answer(503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b""), None),
        (Answer(503, NOW | {"Retry-After": "Wed, 21 Oct 2026 07:30:00 GMT"}, b""), timedelta(minutes=2)),
        (Answer(503, NOW | {"Retry-After": "Wed, 21 Oct 2026 07:30:00 -0000"}, b""), timedelta(minutes=2)),
        (Answer(503, NOW | {"Retry-After": "Wed, 21 Oct 2026 07:27:00 GMT"}, b""), None),
        (Answer(503, NOW | {"Retry-After": "tomorrow"}, b""), None),
        (Answer(503, NOW | {"Retry-After": "Wed, 21 Oct 99999999999 07:28:00 GMT"}, b""), None),
        (Answer(503, NOW | {"Retry-After": f"Wed, 21 Oct 2026 07:28:00 +{'9' * 4000}"}, b""), None),
        (Answer(503, NOW | {"Retry-After": "Wed, 21 Oct 2026 99999999999:28:00 GMT"}, b""), None),
        (Answer(403, NOW | RESET | {"X-RateLimit-Remaining": "0"}, b""), timedelta(minutes=1)),
        (Answer(429, NOW | RESET, b""), timedelta(minutes=1)),
        (Answer(429, NOW | RESET | {"Retry-After": "5"}, b""), timedelta(seconds=5)),
        (Answer(429, NOW | RESET | {"X-RateLimit-Remaining": "12"}, b""), None),
        (Answer(429, NOW | {"X-RateLimit-Reset": "60"}, b""), None),
        (Answer(429, NOW | {"X-RateLimit-Reset": "9" * 13}, b""), None),
        (Answer(429, RESET, b""), None),
        (Answer(503, NOW | RESET, b""), None),
    ],
)
def test_each_form_of_a_rate_limit_is_transient(answer: Answer, wait: timedelta | None) -> None:
    with pytest.raises(TransientError) as caught:
        transport.expect(answer, what="the vendor", remedy="check it")
    assert caught.value.retry_after == wait


@pytest.mark.parametrize(
    "answer",
    [
        Answer(403, {"X-RateLimit-Remaining": "4999"}, b""),
        Answer(400, {}, b'{"Code": "InvalidParameter"}'),
    ],
)
def test_another_refusal_is_not_a_rate_limit(answer: Answer) -> None:
    with pytest.raises(RefusedError):
        transport.expect(answer, what="the vendor", remedy="check it")


def test_a_deeply_nested_answer_is_malformed() -> None:
    answer = Answer(400, {}, b"[" * 100_000)
    assert answer.code() == ""
    with pytest.raises(MalformedError, match="JSON"):
        answer.fields(what="the vendor")
    with pytest.raises(MalformedError, match="robots"):
        answer.items(field="robots", what="the vendor")
