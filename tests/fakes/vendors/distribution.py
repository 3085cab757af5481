"""A vendor's registry as a real Distribution registry: the stand-in decides the rights of each login, and the
registry enforces them."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import Any

from fakes.vendors.network import Request, Response
from fakes.vendors.oci import OciRegistry, Rights, basic_login

from realparts.registry import Registry

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "host", "proxy-connection", "keep-alive"}


def distribution(registry: Registry) -> Callable[..., OciRegistry]:
    """A class in place of `OciRegistry` that forwards a vendor's pulls to the real registry."""

    added: set[str] = set()

    class Distribution(OciRegistry):
        def handle(self, request: Request) -> Response:
            self._synchronize(request)
            return forwarded(registry, request)

        token = handle

        def _synchronize(self, request: Request) -> None:
            """Give the registry's token service the current rights of the request's login."""
            login = basic_login(request)
            if login is None:
                return
            rights = self.rights(request.host, *login)
            if rights is not None:
                added.add(login[0])
                registry.add_user(login[0], login[1], **_as_user(rights))
            elif login[0] in added:
                registry.revoke_user(login[0])

    return Distribution


def _as_user(rights: Rights) -> dict[str, Any]:
    expires_in = None if rights.expires_at is None else rights.expires_at - time.time()
    return {"pull": rights.pull, "push": rights.push, "expires_in": expires_in}


def forwarded(registry: Registry, request: Request) -> Response:
    """The real registry's answer to a request, under the vendor's host name."""
    connection = http.client.HTTPConnection(registry.host, timeout=30)
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
    query = "&".join(f"{name}={value}" for name, value in request.query)
    try:
        connection.request(
            request.method,
            request.path + (f"?{query}" if query else ""),
            body=request.body or None,
            headers={**headers, "Host": request.host},
        )
        answer = connection.getresponse()
        body = answer.read()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        if request.method == "HEAD":
            kept["Docker-Distribution-Api-Version"] = "registry/2.0"
        return Response(answer.status, body, kept)
    finally:
        connection.close()
