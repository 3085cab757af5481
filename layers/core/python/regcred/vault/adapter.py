"""Reads responses from Vault, with a limit on their size and time."""

from __future__ import annotations

import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter

ANSWER_MAX = 16 * 1024 * 1024
"""The maximum size of a response in bytes. A document has at most 1 MiB; a list of 100,000 names has some
MB."""

ANSWER_SECONDS = 60.0
"""The maximum time for a complete response, in seconds."""


class OverlongError(requests.RequestException):
    """A response is compressed, is larger than the limit, or takes too long."""


class VaultAdapter(HTTPAdapter):
    """Reads each response completely, so that the connection can be reused, but only within the limits.

    Raises :class:`OverlongError` beyond them, and for a compressed response, whose size is unknown.
    """

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """See :meth:`requests.adapters.BaseAdapter.send`."""
        until = time.monotonic() + ANSWER_SECONDS
        response = super().send(request, *args, **kwargs)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            response.close()
            raise OverlongError
        parts, size = [], 0
        for part in response.iter_content(64 * 1024):
            size += len(part)
            if size > ANSWER_MAX or time.monotonic() > until:
                response.close()
                raise OverlongError
            parts.append(part)
        response._content = b"".join(parts)  # noqa: SLF001 - where requests keeps the content
        return response
