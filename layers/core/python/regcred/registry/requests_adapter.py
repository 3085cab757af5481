"""The transport adapter for `requests`: calls have a deadline, and certificate bundles are read once."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from typing import Any

import certifi
from requests import PreparedRequest
from requests.adapters import HTTPAdapter

from regcred.errors import MalformedError
from regcred.proxy_sockets import AT_ONCE
from regcred.registry.connection import POOLS, TlsSocket


@cache
def _context(bundle: str) -> ssl.SSLContext:
    """The TLS settings that trust a file or a folder of certificates."""
    folder = Path(bundle).is_dir()
    try:
        context = ssl.create_default_context(
            cafile=None if folder else bundle, capath=bundle if folder else None
        )
    except OSError:  # the file is missing or can't be read, or it contains no certificate
        raise MalformedError(
            f"no certificates can be read from {bundle!r}; check REQUESTS_CA_BUNDLE"
        ) from None
    context.sslsocket_class = TlsSocket
    return context


class BoundedAdapter(HTTPAdapter):
    """Keeps every call within its budget; see :mod:`regcred.registry.limits`.

    Servers are checked against REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or certifi's certificates, as in
    `requests`.
    """

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """See the base class."""
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: Any, **more: Any) -> Any:
        """See the base class."""
        manager = super().proxy_manager_for(proxy, **{"socket_options": AT_ONCE, **more})
        if not str(proxy).lower().startswith("socks"):  # SOCKS proxies use their own pools
            manager.pool_classes_by_scheme = POOLS
        return manager

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """See the base class, which documents this method as the place to set a TLS context."""
        host, settings = map(dict, super().build_connection_pool_key_attributes(request, verify, cert))
        for name in ("ca_certs", "ca_cert_dir"):
            settings.pop(name, None)
        settings["ssl_context"] = _context(verify if isinstance(verify, str) else certifi.where())
        return host, settings

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing, because the TLS context verifies the server.

        The base class would set the bundle, which would then be read for each connection.
        """
