"""The transport adapter for Vault: it limits the size and time of responses, and keeps connection pools.

To send thousands of documents fast, it chooses the proxy and the certificates once for each server. The
library requests would do this for each request. The adapter ignores cookies.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse

from regcred.proxy_sockets import AT_ONCE

ANSWER_MAX = 16 * 1024 * 1024
"""The maximum size of a response in bytes. A document has at most 1 MiB; a list of 100,000 names has some
MB."""

ANSWER_SECONDS = 60.0
"""The maximum time for a complete response, in seconds."""


SERVERS_MAX = 8
"""The maximum number of servers with open connections. More than one is needed if nodes of a Vault cluster
redirect to each other."""

_BODILESS = frozenset({"GET", "HEAD"})
_PLAIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+/[A-Za-z0-9_./-]*")
"""URLs that need no quoting."""


class OverlongError(requests.RequestException):
    """A response is compressed, is larger than the limit, or takes too long."""


class VaultResponse(requests.Response):
    """A response without cookies, whose JSON is parsed once."""

    def __init__(self, request: requests.PreparedRequest, raw: BaseHTTPResponse) -> None:
        """Set what the base class sets, which would also create a store for cookies."""
        self.status_code, self.reason, self.raw = raw.status, raw.reason or "", raw
        self.headers = raw.headers  # type: ignore[assignment] # it ignores upper and lower case, too
        self.url, self.request, self.encoding = str(request.url), request, "utf-8"
        self.history, self._content, self._content_consumed = [], None, True
        self._parsed: list[Any] = []

    def json(self, **_: Any) -> Any:
        """The content as JSON.

        Raises:
            ValueError: it is not JSON.
            RecursionError: it is nested too deeply.
        """
        if not self._parsed:
            self._parsed.append(json.loads(self.content))
        return self._parsed[0]


class VaultAdapter(HTTPAdapter):
    """Reads each response completely, so that the connection can be reused, but only within the limits.

    Raises :class:`OverlongError` beyond them, and for a compressed response, whose size is unknown.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._pools: dict[tuple[object, ...], Any] = {}

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """See the base class. The pool of a server gets its certificates when it is created."""
        origin = str(request.url).split("/", 3)[:3]
        key = (*origin, verify, *(proxies or {}).items())
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= SERVERS_MAX:
                self.close()
            pool = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
            super().cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
            self._pools[key] = pool
        return pool

    def cert_verify(self, *_: Any) -> None:
        """Do nothing. The base class would look for the certificate files at each request."""

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        """See the base class. Without a proxy, this is the path with the query."""
        if proxies:
            return super().request_url(request, proxies)
        return "/" + str(request.url).split("/", 3)[3]

    def build_response(self, request: requests.PreparedRequest, resp: BaseHTTPResponse) -> requests.Response:
        """See the base class."""
        return VaultResponse(request, resp)

    def proxy_manager_for(self, proxy: Any, **more: Any) -> Any:
        """See the base class."""
        return super().proxy_manager_for(proxy, **{"socket_options": AT_ONCE, **more})

    def close(self) -> None:
        """See the base class."""
        self._pools.clear()
        super().close()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """See :meth:`requests.adapters.BaseAdapter.send`."""
        until = time.monotonic() + ANSWER_SECONDS
        response = super().send(request, *args, **kwargs)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            response.close()
            raise OverlongError
        parts, size = [], 0
        for part in response.raw.stream(64 * 1024):
            size += len(part)
            if size > ANSWER_MAX or time.monotonic() > until:
                response.close()
                raise OverlongError
            parts.append(part)
        response._content = b"".join(parts)  # noqa: SLF001 - where requests keeps the content
        return response


def prepared(
    method: str, url: str, headers: dict[str, str], kwargs: Mapping[str, Any]
) -> requests.PreparedRequest:
    """A request as requests would prepare it, without cookies and without the passwords of ~/.netrc."""
    request = requests.PreparedRequest()
    request.method = method
    if _PLAIN.fullmatch(url) and not kwargs.get("params"):
        request.url = url
    else:
        request.prepare_url(url, kwargs.get("params"))
    request.headers = headers  # type: ignore[assignment] # nothing looks for them in another case
    if (content := kwargs.get("json")) is not None:
        request.body = json.dumps(content).encode()
        request.headers["Content-Type"] = "application/json"
        request.headers["Content-Length"] = str(len(request.body))
    elif method not in _BODILESS:
        request.headers["Content-Length"] = "0"
    return request
