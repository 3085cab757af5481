"""An adapter of `requests` that reads each bundle of certificates once, not at every connection."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from typing import Any

import certifi
from requests import PreparedRequest
from requests.adapters import HTTPAdapter


@cache
def _context(bundle: str) -> ssl.SSLContext:
    """The TLS settings that trust a file or a folder of certificates."""
    if Path(bundle).is_dir():
        return ssl.create_default_context(capath=bundle)
    return ssl.create_default_context(cafile=bundle)


class OneContextAdapter(HTTPAdapter):
    """Checks servers against REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or certifi's certificates, as `requests` does."""

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """See the base class, which documents this way to bring a context of one's own."""
        host, settings = map(dict, super().build_connection_pool_key_attributes(request, verify, cert))
        for name in ("ca_certs", "ca_cert_dir"):
            settings.pop(name, None)
        settings["ssl_context"] = _context(verify if isinstance(verify, str) else certifi.where())
        return host, settings

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing to do: the context checks (the base class would name the bundle, which is then read again)."""
