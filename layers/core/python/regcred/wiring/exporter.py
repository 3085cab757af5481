"""The HTTP server of ``regcred exporter``, with the same limits on connections as the other servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


@contextmanager
def serving(registry: CollectorRegistry, host: str, port: int) -> Iterator[int]:
    """Serve in a thread while the context is open. Yields the port.

    Args:
        registry: The metrics to serve.
        host: The address to listen on, IPv4 or IPv6, or a name.
        port: The port; 0 for any free port.

    Raises:
        OSError: The server can't listen on the address or the port.
    """
    import uvicorn
    from prometheus_client import make_asgi_app

    from regcred.wiring.bounded_http import LIMITS

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listening:
        config = uvicorn.Config(
            make_asgi_app(registry),
            log_level="critical",  # any client may send any number of requests that nobody can read
            lifespan="off",
            proxy_headers=False,
            **LIMITS,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="exporter")
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
