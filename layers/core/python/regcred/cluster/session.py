"""One aiohttp session to a cluster's API server: sign-in, typed errors, JSON in and out."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from yarl import URL

from regcred.cluster.error_responses import error_of
from regcred.cluster.interface import TooLargeError
from regcred.cluster.json_depth import flattened
from regcred.errors import TransientError
from regcred.tls_causes import chain, tls_cause

if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

SIGN_IN_AGAIN = 10.0
"""Seconds between checks whether the token or certificate was renewed."""

_PRIVATE = "name its authority in the kubeconfig (certificate-authority-data)"
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
STREAM_LIMIT = 2**18
"""Bytes that a connection buffers before the sender must wait."""

ANSWER_BYTES = 2**18
"""The maximum size of a response about one object. Parsed, it takes many times as much memory."""

ERROR_BYTES = 2**16
"""The maximum size of an error's body that is read."""

LARGE_LINE = 2**20
"""If a line of a watch has more bytes than this, it is large. Only one large line is read at a time."""

LINE_SECONDS = 30.0
"""The maximum time to read the rest of a large line, in seconds."""


class Counter(Protocol):
    """Counts requests."""

    def __call__(self, verb: str, path: str, status: int, seconds: float) -> None:
        """Count one request.

        Args:
            verb: The verb; ``WATCH`` for a watch.
            path: The API path.
            status: The status of the response; 0 without a response.
            seconds: The duration; 0 for a watch.
        """


class KubeSession:
    """Sends requests with the account of a kubeconfig or of the Pod.

    Args:
        configuration: As ``kubernetes.aio.config`` loads it. The session calls its refresh hook, which loads
            renewed tokens.
        connections: The maximum number of open connections, without watches.
        count: Called for each request.
        most: The maximum size of a response to :meth:`call`, in bytes.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        connections: int = 64,
        count: Counter | None = None,
        most: int = ANSWER_BYTES,
    ) -> None:
        from kubernetes.aio.client.rest import RESTClientObject  # noqa: PLC0415 - loaded only when a cluster is used

        self._configuration = configuration
        self._base = str(configuration.host).rstrip("/")
        connector = aiohttp.TCPConnector(
            ssl=RESTClientObject(configuration).ssl_context, limit=connections + 32
        )
        self._http = aiohttp.ClientSession(
            connector=connector, timeout=TIMEOUT, trust_env=False, read_bufsize=STREAM_LIMIT
        )
        self._route = _route(configuration, self._base)
        self._sign_in: dict[str, str] = {}
        self._signed_in_at = float("-inf")
        self._count = count
        self._most = most

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def call(
        self,
        verb: str,
        path: str,
        *,
        query: str = "",
        body: bytes | None = None,
        accept: str = JSON,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        """Send a request and read the response's JSON.

        Raises:
            RegcredError: by HTTP status, see :func:`error_of`; TransientError without a response, or if it is
                too large.
        """
        try:
            content = await self._send(
                verb, path, query, body, accept=accept, content_type=content_type, most=self._most
            )
        except TooLargeError as error:
            raise TransientError(str(error)) from None
        return _json(content, path)

    async def fetch(self, path: str, *, query: str = "", accept: str, most: int) -> bytes:
        """Read a response of at most ``most`` bytes, without parsing it.

        Raises:
            RegcredError: as :meth:`call`.
            TooLargeError: there are more bytes; the rest was not read.
        """
        return await self._send("GET", path, query, None, accept=accept, most=most)

    async def _send(
        self,
        verb: str,
        path: str,
        query: str,
        body: bytes | None,
        *,
        accept: str,
        most: int,
        content_type: str = JSON,
    ) -> bytes:
        started = time.monotonic()
        status = 0
        try:
            headers = {**await self._headers(), "Accept": accept, "Content-Type": content_type}
            url = self._url(path, query)
            async with self._http.request(verb, url, data=body, headers=headers, **self._route) as response:
                status = response.status
                failed = status >= HTTPStatus.BAD_REQUEST
                content = await _read(response, ERROR_BYTES if failed else most)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(self._base, error) from None
        finally:
            if self._count:
                self._count(verb, path, status, time.monotonic() - started)
        if failed:
            cut = content[:ERROR_BYTES]
            raise error_of(verb, path, status, cut, response.headers.get("Retry-After"))
        if len(content) > most:
            raise TooLargeError(f"the answer to {verb} {path} has more than {most} bytes")
        return content

    async def stream(self, path: str, *, query: str, accept: str, silence: float) -> aiohttp.ClientResponse:
        """Open a watch; the caller reads and releases the response.

        Args:
            path: The API path.
            query: The watch's parameters.
            accept: The media type of the objects.
            silence: The maximum number of seconds without a byte.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=silence)
        try:
            headers = {**await self._headers(), "Accept": accept}
            response = await self._http.get(
                self._url(path, query), headers=headers, timeout=timeout, **self._route
            )
            failed = response.status >= HTTPStatus.BAD_REQUEST
            content = (await _read(response, ERROR_BYTES))[:ERROR_BYTES] if failed else b""
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(self._base, error) from None
        if self._count:
            self._count("WATCH", path, response.status, 0.0)
        if failed:
            raise error_of("WATCH", path, response.status, content, response.headers.get("Retry-After"))
        return response

    def _url(self, path: str, query: str) -> URL:
        return URL(f"{self._base}{path}{'?' if query else ''}{query}", encoded=True)

    async def _headers(self) -> dict[str, str]:
        now = time.monotonic()
        if now >= self._signed_in_at + SIGN_IN_AGAIN:
            settings = await self._configuration.auth_settings()
            self._sign_in = {
                setting["key"]: setting["value"] for setting in settings.values() if setting["value"]
            }
            self._sign_in["User-Agent"] = "regcred-sync"
            # A few compressed bytes may expand to many, and aiohttp would unpack them before this code counts
            # them.
            self._sign_in["Accept-Encoding"] = "identity"
            self._signed_in_at = now
        return self._sign_in


def _route(configuration: Configuration, base: str) -> dict[str, Any]:
    """The proxy from the kubeconfig or the environment, if any, and the name in the server's certificate.

    This is done once. With ``trust_env``, aiohttp uses a thread at every request to look for the proxy and a
    ``.netrc``.
    """
    url = URL(base)
    proxy = configuration.proxy or (
        None if not url.host or proxy_bypass(url.host) else getproxies().get(url.scheme)
    )
    route = {"proxy": proxy, "server_hostname": configuration.tls_server_name}
    return {name: value for name, value in route.items() if value}


def unreachable(base: str, error: Exception) -> TransientError:
    """The error for a missing response. It names the cause, without the library's text."""
    cause = tls_cause(chain(error), private=_PRIVATE) or f"can't be reached ({type(error).__name__})"
    return TransientError(f"the API server at {base} {cause}")


def _json(content: bytes, path: str) -> dict[str, Any]:
    try:
        answer = _loaded(content)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise TransientError(f"the answer to {path} is not a JSON object; is this a Kubernetes API server?")
    return answer


def _loaded(content: bytes) -> Any:
    """Parse JSON. If it is nested too deeply, cut it; sync reads no field at that depth."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return orjson.loads(flattened(content))


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Read a body. Stop soon after ``most`` bytes."""
    pieces: list[bytes] = []
    size = 0
    while size <= most and (piece := await response.content.readany()):
        pieces.append(piece)
        size += len(piece)
    if size > most:
        response.close()
    return b"".join(pieces)


class Streamed(AbstractAsyncContextManager["Streamed"]):
    """Reads the lines of a watch's response.

    Args:
        response: The open response.
        large: Acquired while a large line is read, so that only one is read at a time.
        most: The maximum bytes of a line.
    """

    def __init__(self, response: aiohttp.ClientResponse, large: asyncio.Semaphore, most: int) -> None:
        self._response = response
        self._large = large
        self._most = most
        self._ready: deque[bytes] = deque()
        self._pieces: list[bytes] = []

    async def __aexit__(self, *_: object) -> None:
        self._response.close()

    async def line(self) -> bytes:
        """The next complete line; empty at the end.

        Raises:
            TooLargeError: the line is too long. The stream can't be used any more.
        """
        while not self._ready:
            chunk = await self._response.content.readany()
            if not chunk:
                return b""
            self._split(chunk)
            if sum(map(len, self._pieces)) > LARGE_LINE:
                async with self._large, asyncio.timeout(LINE_SECONDS):
                    await self._read_large()
        return self._ready.popleft()

    async def _read_large(self) -> None:
        """Read until the current line is complete."""
        size = sum(map(len, self._pieces))
        lines = len(self._ready)
        while len(self._ready) == lines:
            chunk = await self._response.content.readany()
            size += len(chunk)
            if size > self._most:
                raise TooLargeError(f"a line of a watch has more than {self._most} bytes")
            if not chunk:
                return
            self._split(chunk)

    def _split(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\n")
        self._pieces.append(first)
        for other in others:
            line = b"".join(self._pieces)
            if line:
                self._ready.append(line)
            self._pieces = [other]
