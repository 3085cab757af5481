"""The network between Regcred and the vendors' host names: an HTTP CONNECT proxy that terminates TLS.

Programs get HTTPS_PROXY and a CA bundle in their environment, and call `https://registry.example.com` or
`https://123456789012.dkr.ecr.eu-west-1.amazonaws.com` as in production. The proxy refuses and records a host
without a route, so nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import fcntl
import fnmatch
import json
import os
import shutil
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import pki
from .procs import Processes, free_ports, listening
from .state import State

PART = "internet"


class Internet:
    """The handle of the proxy."""

    def __init__(self, processes: Processes, state: State) -> None:
        self._processes = processes
        self._state = state
        self.directory = processes.directory / PART

    @property
    def proxy_url(self) -> str:
        """The value for HTTPS_PROXY."""
        return f"http://127.0.0.1:{self._state.part(PART)['port']}"

    @property
    def ca_bundle(self) -> Path:
        """A bundle of the proxy's certificate authority and the authorities that the machine trusts."""
        return self.directory / "ca-bundle.pem"

    @property
    def certificate(self) -> Path:
        """The certificate of the proxy's certificate authority."""
        return self.directory / "ca.crt"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that make a program use the proxy for https."""
        bundle = str(self.ca_bundle)
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "CURL_CA_BUNDLE")
        return {
            "HTTPS_PROXY": self.proxy_url,
            "https_proxy": self.proxy_url,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            **dict.fromkeys(names, bundle),
        }

    def up(self) -> None:
        """Start the proxy with the routes of the last run."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if "port" not in self._state.part(PART):
            self._state.update(PART, port=free_ports(1)[0])
        port = self._state.part(PART)["port"]
        authority = pki.Authority(self.directory, "regcred local internet")
        machine = ssl.get_default_verify_paths().cafile
        trusted = Path(machine).read_text() if machine and Path(machine).exists() else ""
        self.ca_bundle.write_text(authority.certificate.read_text() + trusted)
        if not self._processes.pid(PART):
            self._processes.start(
                PART,
                [sys.executable, "-m", "realparts.internet", str(port), self.directory],
                ready=lambda: listening(port),
                env=python_environment(),
            )

    def down(self) -> None:
        """Stop the proxy and delete its routes."""
        self._processes.stop(PART)
        shutil.rmtree(self.directory, ignore_errors=True)
        self._state.remove(PART)

    def route(self, host: str, port: int) -> None:
        """Route a host name, or a pattern such as `*.dkr.ecr.*.amazonaws.com`, to an http port of 127.0.0.1.

        This replaces an earlier route of the same pattern. The longest matching pattern is used.
        """
        self._change(lambda routes: {**routes, host: port})

    def block(self, host: str) -> None:
        """Make connections to a host name or pattern fail, as without a network."""
        self._change(lambda routes: {**routes, host: 0})

    def unroute(self, host: str) -> None:
        """Remove the route or the block of this host name or pattern."""
        self._change(lambda routes: {pattern: port for pattern, port in routes.items() if pattern != host})

    def routes(self) -> dict[str, int]:
        """Return all routes: by pattern, the port, or 0 for a block."""
        return read_routes(self.directory)

    def events(self) -> list[dict[str, Any]]:
        """Return every requested connection: `time`, `host`, `outcome` (routed, refused or blocked)."""
        log = self._processes.logs / f"{PART}.log"
        return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]

    def _change(self, change: Callable[[dict[str, int]], dict[str, int]]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "routes.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            unfinished = self.directory / ".routes.json"
            unfinished.write_text(json.dumps(change(self.routes()), indent=1))
            unfinished.rename(self.directory / "routes.json")


def python_environment() -> dict[str, str]:
    """Return the environment for a server of this package: the current one without the proxy."""
    dropped = {"http_proxy", "https_proxy", "all_proxy"}
    kept = {key: value for key, value in os.environ.items() if key.lower() not in dropped}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": "1"}


def read_routes(directory: Path) -> dict[str, int]:
    """Return the routes that are stored in this folder."""
    try:
        routes = json.loads((directory / "routes.json").read_text())
    except FileNotFoundError:
        return {}
    assert isinstance(routes, dict)
    return routes


def find_route(routes: dict[str, int], host: str) -> int | None:
    """Return the port of a host's route, 0 if it is blocked, None if it has no route."""
    matching = [pattern for pattern in routes if fnmatch.fnmatchcase(host.lower(), pattern.lower())]
    return routes[max(matching, key=len)] if matching else None


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    disable_nagle_algorithm = True  # otherwise the second of two writes waits 40 ms for an ACK

    def handle(self) -> None:
        request = self.rfile.readline(4096).decode("latin-1").split()
        while self.rfile.readline(8192).strip():
            pass
        if len(request) < 2:
            return
        if request[0] != "CONNECT":
            self._refuse(request[1], "refused")
            return
        host = request[1].rpartition(":")[0]
        port = find_route(read_routes(self.server.directory), host)
        if not port:
            self._refuse(host, "refused" if port is None else "blocked")
            return
        record(host=host, outcome="routed")
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._relay(host, port)

    def _refuse(self, host: str, outcome: str) -> None:
        record(host=host, outcome=outcome)
        text = f"{host} is not routed by the local network of regcred\n".encode()
        self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    def _relay(self, host: str, port: int) -> None:
        try:
            inner = self.server.context(host).wrap_socket(self.request, server_side=True)
        except (ssl.SSLError, OSError) as error:
            record(host=host, outcome="tls failed", reason=str(error))
            return
        try:
            outer = socket.create_connection(("127.0.0.1", port), timeout=10)
        except OSError as error:
            record(host=host, outcome="unreachable", reason=str(error))
            inner.close()
            return
        outer.settimeout(None)
        outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=_pump, args=(outer, inner), daemon=True)
        back.start()
        _pump(inner, outer)
        back.join(timeout=60)
        inner.close()
        outer.close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, directory: Path) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.directory = directory
        self._authority = pki.Authority(directory, "regcred local internet")
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def context(self, host: str) -> ssl.SSLContext:
        """Return the TLS context with a certificate for this host."""
        with self._lock:
            if host not in self._contexts:
                # A common name has at most 64 characters; the host is in the subject alternative name.
                certificate, key = self._authority.issue(host, user="regcred local", hosts=(host,))
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate, key)
                context.set_alpn_protocols(["http/1.1"])
                self._contexts[host] = context
            return self._contexts[host]


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            if hasattr(socket, "TCP_QUICKACK"):  # many clients send a body after the ACK for the headers
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def record(**event: Any) -> None:
    """Print an event as a JSON line in one write. `print` uses two, which threads would mix up."""
    sys.stdout.write(json.dumps({"time": time.time(), **event}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run `python -m realparts.internet PORT DIRECTORY`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("directory", type=Path)
    args = parser.parse_args()
    _Server(args.port, args.directory).serve_forever()


if __name__ == "__main__":
    main()
