"""A CONNECT proxy that terminates TLS and answers for every vendor's host name, so that tests use real HTTPS.

Clients find it by HTTPS_PROXY and REQUESTS_CA_BUNDLE, as they find a proxy in production. It answers 502 for
a host that has no handler.
"""

from __future__ import annotations

import fnmatch
import json
import re
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import trustme


@dataclass(frozen=True)
class Request:
    method: str
    host: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(self.form_items)

    @property
    def form_items(self) -> list[tuple[str, str]]:
        return parse_qsl(self.body.decode(), keep_blank_values=True)

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")


@dataclass(frozen=True)
class Response:
    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    dripping: bool = False
    """Send a header every 0.1 seconds, and never a body."""

    def encoded(self) -> bytes:
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


class CutError(Exception):
    """The connection breaks off without an answer."""


Handler = Callable[[Request], Response]
Check = Callable[[Request, Response], list[str]]

T = TypeVar("T")


class Clock:
    """The vendors' clock: the real time plus an offset that tests set."""

    def __init__(self) -> None:
        self.offset = 0.0

    def time(self) -> float:
        return time.time() + self.offset

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def advance(self, by: timedelta) -> None:
        self.offset += by.total_seconds()


class Network:
    """The proxy, with a handler for each pattern of host names."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.requests: list[Request] = []
        self._handlers: dict[str, Handler] = {}
        self._faults: list[tuple[str, Handler]] = []
        self._descriptions: dict[str, Check] = {}
        self.problems: list[str] = []
        """Requests and answers that do not match a vendor's description; see :meth:`describe`."""
        self._authority = trustme.CA()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self.ca_bundle = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca_bundle)
        self._server = _Proxy(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        proxy = f"http://127.0.0.1:{self._server.server_address[1]}"
        bundle = str(self.ca_bundle)
        names = ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
        return {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "127.0.0.1,localhost",
            **dict.fromkeys(names, bundle),
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget everything but the certificates."""
        self.clock.offset = 0.0
        self.requests.clear()
        self._handlers.clear()
        self._faults.clear()
        self._descriptions.clear()
        self.problems.clear()

    def add(self, pattern: str, handler: Handler) -> None:
        """Let `handler` answer for hosts that match `pattern`, as in `registry.example.com:5000`,
        `*.azurecr.io`."""
        self._handlers[pattern] = handler

    def describe(self, pattern: str, check: Check) -> None:
        """Check the requests to hosts that match `pattern`, and the answers, against the vendor's
        description."""
        self._descriptions[pattern] = check

    def fail(self, path: str, handler: Handler, *, times: int = 1) -> None:
        """Let `handler` answer the next requests whose `METHOD host/path` matches the regular expression."""
        self._faults += [(path, handler)] * times

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        line = f"{request.method} {request.host}{request.path}"
        for number, (pattern, handler) in enumerate(self._faults):
            if re.search(pattern, line):
                del self._faults[number]
                return handler(request)
        handler = _of(self._handlers, request.host)
        response = handler(request) if handler else Response(502, {"error": "no handler"})
        if check := _of(self._descriptions, request.host):
            self.problems += [f"{line}: {problem}" for problem in _checked(check, request, response)]
        return response

    def knows(self, host: str) -> bool:
        return _of(self._handlers, host) is not None

    def context(self, name: str) -> ssl.SSLContext:
        with self._lock:
            if name not in self._contexts:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._authority.issue_cert(name, common_name="vendor").configure_cert(context)
                self._contexts[name] = context
            return self._contexts[name]


def _checked(check: Check, request: Request, response: Response) -> list[str]:
    try:
        return check(request, response)
    except Exception as error:  # noqa: BLE001 - an exception in a server thread would not fail the test
        return [f"can't be compared with the description: {error!r}"]


def _of(by_pattern: Mapping[str, T], host: str) -> T | None:
    """The value of the longest pattern that matches a host; None if no pattern matches."""
    matching = [pattern for pattern in by_pattern if fnmatch.fnmatchcase(host, pattern)]
    return by_pattern[max(matching, key=len)] if matching else None


def status(code: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Handler:
    """A fault: the same answer to every request."""
    return lambda request: Response(code, body, headers or {})


def cut(request: Request) -> Response:
    """A fault: close the connection without an answer."""
    raise CutError


class _Proxy(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, network: Network) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.network = network


class _Tunnel(socketserver.StreamRequestHandler):
    server: _Proxy
    disable_nagle_algorithm = True  # headers and body are two writes; the second would wait 40 ms for an ACK

    def handle(self) -> None:
        request = self.rfile.readline(4096).decode("latin-1").split()
        while self.rfile.readline(8192).strip():
            pass
        host = request[1].removesuffix(":443") if len(request) > 1 else ""
        if not self.server.network.knows(host):
            self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            tls = self.server.network.context(host.partition(":")[0]).wrap_socket(
                self.request, server_side=True
            )
        except (ssl.SSLError, OSError):
            return
        try:
            _Http(tls, self.client_address, self.server, host)
        except (CutError, OSError):
            pass
        finally:
            tls.close()


class _Http(BaseHTTPRequestHandler):
    wbufsize = -1
    protocol_version = "HTTP/1.1"
    server: Any

    def __init__(self, connection: ssl.SSLSocket, address: Any, server: _Proxy, host: str) -> None:
        self.host = host
        super().__init__(connection, address, server)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            host=self.host,
            path=parts.path,
            query=parse_qsl(parts.query, keep_blank_values=True),
            headers=dict(self.headers.items()),
            body=self._body(),
        )
        response = self.server.network.answer(request)
        content = response.encoded()
        self.send_response(response.status)
        headers = {"Content-Type": "application/json", **response.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        if response.dripping:
            self._drip()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _drip(self) -> None:
        self.flush_headers()
        for number in range(80):
            self.wfile.write(f"X-Drip-{number}: 1\r\n".encode())
            self.wfile.flush()
            time.sleep(0.1)
        raise CutError

    def _body(self) -> bytes:
        """Read the body. urllib3 sends it to a proxy only when the ACK for the headers has arrived.

        Linux would delay that by 40 ms.
        """
        if hasattr(socket, "TCP_QUICKACK"):
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
