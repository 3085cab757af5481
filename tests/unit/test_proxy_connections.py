"""Behind a proxy, the body of a request does not wait until the proxy has acknowledged the headers."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from requests.adapters import HTTPAdapter

from regcred.registry.requests_adapter import BoundedAdapter
from regcred.vault.adapter import VaultAdapter


@pytest.mark.parametrize("adapter", [BoundedAdapter(), VaultAdapter()], ids=["registries", "Vault"])
def test_a_connection_to_a_proxy_sends_at_once(adapter: HTTPAdapter) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as proxy:
        Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        manager = adapter.proxy_manager_for(f"http://127.0.0.1:{proxy.server_port}")
        connection = manager.connection_from_url("http://registry.invalid/")._get_conn()
        connection.connect()
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.close()
        proxy.shutdown()
