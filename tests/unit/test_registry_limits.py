"""A deadline and a number of bytes limit each HTTP call, whatever the server does. The servers are real
sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from kubernetes.aio.client import Configuration
from pydantic import SecretStr

from regcred.cluster.session import KubeSession
from regcred.errors import MalformedError, RegcredError, TransientError
from regcred.registry import limits, transport
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin

Talk = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def server(talk: Talk) -> Iterator[int]:
    """A server that calls ``talk`` with each connection; its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(10)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=served, args=(connection,), daemon=True).start()

    def served(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            talk(connection)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()


def drip(head: bytes, again: bytes, *, pause: float = 0.02) -> Talk:
    """Send `head`, then `again` every `pause` seconds for 8 seconds, which is longer than any deadline
    here."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(head)
        until = time.monotonic() + 8
        while time.monotonic() < until:
            connection.sendall(again)
            time.sleep(pause)

    return talk


def silent(connection: socket.socket) -> None:
    time.sleep(8)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
DRIPS = {
    "status line": drip(b"", b"H"),
    "header names": drip(OK, b"x"),
    "header lines": drip(OK, b"X-A: b\r\n", pause=0.2),
    "100 Continue": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "headers of 100 Continue": drip(b"HTTP/1.1 100 Continue\r\n", b"X-A: b\r\n", pause=0.2),
    "body": drip(OK + b"Content-Length: 100000\r\n\r\n", b"x"),
    "body without length": drip(OK + b"\r\n", b"x"),
    "chunk extension": drip(CHUNKED + b"1;", b"x"),
    "chunk sizes": drip(CHUNKED, b"0"),
    "empty lines between chunks": drip(CHUNKED + b"1\r\nx\r\n", b"1\r\nx\r\n"),
    "trailers": drip(CHUNKED + b"0\r\n", b"X-A: b\r\n"),
    "gzip that never gives anything": drip(
        OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08" + b"\x00" * 5 + b"\x03", b"n"
    ),
    "silence": silent,
}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALL_SECONDS", 0.4)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("talk", DRIPS.values(), ids=DRIPS)
def test_a_slow_answer_ends_at_the_deadline(talk: Talk) -> None:
    with server(talk) as port:
        started = time.monotonic()
        with pytest.raises(TransientError, match=rf"127\.0\.0\.1:{port} did not send its whole response"):
            transport.send("GET", f"http://127.0.0.1:{port}/")
        assert time.monotonic() - started < 3


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "talk",
    [silent, drip(b"\x16\x03\x03\x3f\xff", b"\x02"), drip(b"", b"\x15\x03\x03\x00\x02\x01\x64", pause=0.1)],
    ids=["silence", "a handshake record", "warnings"],
)
def test_a_slow_tls_handshake_ends_at_the_deadline(talk: Talk) -> None:
    with server(talk) as port:
        started = time.monotonic()
        with pytest.raises(TransientError):
            transport.send("GET", f"https://127.0.0.1:{port}/")
        assert time.monotonic() - started < 3


@pytest.mark.usefixtures("short")
def test_a_slow_proxy_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(drip(b"HTTP/1.1 200 Connection established\r\n", b"X-A: b\r\n", pause=0.1)) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        started = time.monotonic()
        with pytest.raises(TransientError):
            transport.send("GET", "https://registry.example.com/")
        assert time.monotonic() - started < 3


@pytest.mark.usefixtures("short")
def test_sending_to_a_server_that_reads_nothing_ends_at_the_deadline() -> None:
    with server(silent) as port:
        started = time.monotonic()
        with pytest.raises(TransientError):
            transport.send("POST", f"http://127.0.0.1:{port}/", document={"a": "x" * 20_000_000})
        assert time.monotonic() - started < 4


FLOODS = {
    "one header": drip(OK + b"X-A: ", b"x" * 60_000, pause=0),
    "many headers": drip(OK, b"X-A: b\r\n" * 1000, pause=0),
    "large headers": drip(OK, b"X-A: " + b"b" * 30_000 + b"\r\n", pause=0),
    "100 Continue": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, pause=0),
    "chunk extensions": drip(CHUNKED, b"1;" + b"x" * 30_000 + b"\r\nx\r\n", pause=0),
    "trailers": drip(CHUNKED + b"0\r\n", b"X-A: b\r\n" * 1000, pause=0),
}


@pytest.mark.parametrize("talk", FLOODS.values(), ids=FLOODS)
def test_too_many_bytes_outside_of_the_body_are_an_error(talk: Talk) -> None:
    with server(talk) as port:
        started = time.monotonic()
        with pytest.raises(MalformedError, match="kB of headers"):
            transport.send("GET", f"http://127.0.0.1:{port}/")
        assert time.monotonic() - started < 5


def test_an_endless_body_is_cut_at_its_maximum_size() -> None:
    with server(drip(OK + b"\r\n", b"x" * 65536, pause=0)) as port:
        assert len(transport.send("GET", f"http://127.0.0.1:{port}/").body) == transport.BODY_MAX


def test_a_nested_call_has_the_deadline_of_the_outer_call() -> None:
    with limits.one_call(0.3), limits.one_call(60) as inner:
        assert inner.seconds <= 0.3
    assert limits.current() is None


def test_a_reused_connection_has_the_deadline_of_the_new_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accepted: list[int] = []

    def talk(connection: socket.socket) -> None:
        accepted.append(1)
        while connection.recv(65536):
            time.sleep(0.1)
            connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")

    with server(talk) as port:
        for seconds in (0.6, 30.0):
            monkeypatch.setattr(limits, "CALL_SECONDS", seconds)
            for _ in range(4):
                assert transport.send("GET", f"http://127.0.0.1:{port}/").status == 200
    assert accepted == [1]


AUTHORITY = trustme.CA()


def tls(context: ssl.SSLContext) -> Talk:
    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as wrapped:
            try:
                wrapped.do_handshake()
            except ssl.SSLError:  # wait until the client has read the alert, which a reset would discard
                time.sleep(0.3)
                return
            wrapped.recv(65536)
            wrapped.sendall(OK + b"Content-Length: 2\r\n\r\n{}")

    return talk


def context_for(
    name: str = "localhost", *, authority: trustme.CA = AUTHORITY, days: int = 30
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ends = datetime.now(UTC) + timedelta(days=days)
    authority.issue_cert(name, not_after=ends).configure_cert(context)
    return context


def starting_later() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    begins = datetime.now(UTC) + timedelta(days=2)
    AUTHORITY.issue_cert("localhost", not_before=begins).configure_cert(context)
    return context


def old() -> ssl.SSLContext:
    context = context_for()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def client_certificate() -> ssl.SSLContext:
    context = context_for()
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    return context


def without_common_cipher() -> ssl.SSLContext:
    context = context_for()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("NULL-SHA256:@SECLEVEL=0")
    return context


def plain(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def hang_up(connection: socket.socket) -> None:
    connection.recv(65536)


TLS_CAUSES: dict[str, tuple[Talk, str]] = {
    "plain HTTP": (plain, "does not use TLS on this port"),
    "another protocol": (drip(b"SSH-2.0-OpenSSH_9.6\r\n", b""), "does not use TLS on this port"),
    "expired": (tls(context_for(days=-1)), "has expired"),
    "not valid yet": (tls(starting_later()), "not valid yet"),
    "another name": (tls(context_for("registry.example.com")), "for another host name"),
    "another authority": (tls(context_for(authority=trustme.CA())), "REQUESTS_CA_BUNDLE"),
    "an old version": (tls(old()), "no safe version of TLS"),
    "a client certificate": (tls(client_certificate()), "client certificate"),
    "no common cipher": (tls(without_common_cipher()), "no cipher in common"),
    "closed": (hang_up, "closed the connection during the TLS handshake"),
}


@pytest.mark.parametrize(("talk", "message"), TLS_CAUSES.values(), ids=TLS_CAUSES)
def test_a_tls_error_names_its_cause(
    talk: Talk, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with server(talk) as port, pytest.raises(TransientError, match=message) as caught:
        transport.send("GET", f"https://localhost:{port}/")
    assert ("REQUESTS_CA_BUNDLE" in str(caught.value)) is (message == "REQUESTS_CA_BUNDLE")


OTHERS_CAUSES = {
    "Vault": "set the CA file",
    "the API server": "certificate-authority-data",
}
"""For each other client, the remedy in its error about an unknown CA."""


async def ask_vault(address: str, bundle: str) -> None:
    login = TokenLogin(lambda: SecretStr("t"))
    client = connect(Server(address, ca_file=bundle), login, sleep=lambda _: None)
    await asyncio.to_thread(client.version, "x")


async def ask_api_server(address: str, bundle: str) -> None:
    session = KubeSession(Configuration(host=address, ssl_ca_cert=bundle))
    try:
        await session.call("GET", "/")
    finally:
        await session.close()


@pytest.mark.parametrize("whose", OTHERS_CAUSES)
@pytest.mark.parametrize(("talk", "message"), TLS_CAUSES.values(), ids=TLS_CAUSES)
async def test_tls_errors_of_vault_and_the_api_server_name_their_cause_too(
    talk: Talk, message: str, whose: str, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(bundle)
    remedy = OTHERS_CAUSES[whose]
    expected = remedy if message == "REQUESTS_CA_BUNDLE" else message
    ask = ask_vault if whose == "Vault" else ask_api_server
    if talk is hang_up and whose != "Vault":
        expected = "can't be reached"  # asyncio does not say that TLS was being set up
    with server(talk) as port, pytest.raises(RegcredError, match=expected) as caught:
        await ask(f"https://localhost:{port}", str(bundle))
    assert (remedy in str(caught.value)) is (expected == remedy)


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nx\n"])
def test_an_error_about_an_invalid_ca_bundle_names_it(
    content: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "private-ca.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with pytest.raises(MalformedError, match=r"private-ca\.pem.*check REQUESTS_CA_BUNDLE"):
        transport.send("GET", "https://localhost:1/")


def test_a_refused_connection_and_an_unknown_host_have_different_errors() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(TransientError, match="refuses connections on this port"):
        transport.send("GET", f"http://127.0.0.1:{port}/")
    with pytest.raises(TransientError, match=r"not a known host name|can't be looked up"):
        transport.send("GET", "https://registry.invalid/")


def test_a_server_of_another_protocol_is_reported() -> None:
    with (
        server(drip(b"SSH-2.0-OpenSSH_9.6\r\n", b"")) as port,
        pytest.raises(TransientError, match="does not respond with HTTP; check the port"),
    ):
        transport.send("GET", f"http://127.0.0.1:{port}/")
