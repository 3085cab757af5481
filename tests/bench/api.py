"""A fast client of the API server as administrator, and a watch that records when Secrets arrive."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
import time
from collections.abc import Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from bench.table import say
from realparts.stack import Stack
from regcred.cluster.annotations import SECRET_VERSION

IN_FLIGHT = 48
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class Api:
    """Requests as administrator. The group system:masters is exempt from the API server's queues."""

    def __init__(self, http: aiohttp.ClientSession, server: str) -> None:
        self._http = http
        self.server = server

    @classmethod
    @asynccontextmanager
    async def open(cls, stack: Stack):
        """Sign in with a client certificate."""
        config = json.loads(
            stack.kubernetes.kubeconfig_for("bench", groups=("system:masters",)).read_text(encoding="utf-8")
        )
        user = config["users"][0]["user"]
        context = ssl.create_default_context(cafile=str(stack.kubernetes.ca))
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for name in ("client-certificate-data", "client-key-data"):
                path = Path(folder) / name
                path.touch(mode=0o600)
                path.write_bytes(base64.b64decode(user[name]))
                files.append(path)
            context.load_cert_chain(*files)
        connector = aiohttp.TCPConnector(ssl=context, limit=IN_FLIGHT + 4)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            yield cls(http, stack.kubernetes.server)

    async def send(
        self, method: str, path: str, body: Any = None, *, accept: str = "application/json"
    ) -> Any:
        """Send a request and return the parsed response.

        Statuses 404 and 409 are not failures: the object is gone or exists already.

        Raises:
            RuntimeError: For any other error status.
        """
        data = None if body is None else orjson.dumps(body)
        patch = method == "PATCH"
        headers = {
            "Content-Type": "application/merge-patch+json" if patch else "application/json",
            "Accept": accept,
            "User-Agent": "regcred-bench",
        }
        async with self._http.request(method, self.server + path, data=data, headers=headers) as response:
            content = await response.read()
            if response.status >= 400 and response.status not in {404, 409}:
                raise RuntimeError(f"{method} {path}: {response.status} {content[:300]!r}")
            return orjson.loads(content)

    async def each(self, requests: Iterable[tuple[str, str, Any]], *, in_flight: int = IN_FLIGHT) -> float:
        """Send requests (method, path, body), `in_flight` at a time; return the seconds that it took."""
        todo = iter(requests)

        async def work() -> None:
            for method, path, body in todo:
                await self.send(method, path, body)

        started = time.monotonic()
        await asyncio.gather(*(work() for _ in range(in_flight)))
        return time.monotonic() - started

    @asynccontextmanager
    async def arrivals(self):
        """Watch the metadata of all Secrets that Regcred or the floor creates."""
        version = (await self.send("GET", "/api/v1/secrets?limit=1"))["metadata"]["resourceVersion"]
        arrivals = Arrivals(version)
        watching = asyncio.create_task(self._watch(arrivals))
        try:
            yield arrivals
        finally:
            watching.cancel()

    async def _watch(self, arrivals: Arrivals) -> None:
        """Watch without end. If the server ends the watch, which it does to slow readers, resume it."""
        query = "watch=1&labelSelector=app.kubernetes.io/managed-by%3Dregcred"
        while True:
            url = f"{self.server}/api/v1/secrets?{query}&resourceVersion={arrivals.version}"
            try:
                async with self._http.get(url, headers={"Accept": METADATA}) as response:
                    await arrivals.follow(response)
            except (aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:
                say(f"        the observer's watch ended and resumes: {error!r}")


class Arrivals:
    """Records when the awaited Secrets arrive."""

    def __init__(self, version: str) -> None:
        self.version = version
        self._awaited: dict[tuple[str, str], list[Awaited]] = {}

    async def follow(self, response: aiohttp.ClientResponse) -> None:
        """Read a watch to its end."""
        rest = b""
        while chunk := await response.content.readany():
            now = time.time()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(orjson.loads(line), now)

    def _take(self, event: dict[str, Any], now: float) -> None:
        if event["type"] == "ERROR":
            raise RuntimeError(event["object"].get("message"))
        metadata = event["object"]["metadata"]
        self.version = metadata["resourceVersion"]
        if event["type"] in {"ADDED", "MODIFIED"}:
            version = (metadata.get("annotations") or {}).get(SECRET_VERSION, "")
            for awaited in self._awaited.get((metadata["name"], version), ()):
                awaited.take(metadata["namespace"], now)

    def expect(self, name: str, version: int, namespaces: Iterable[str]) -> Awaited:
        """Start to wait for a version of a Secret in each of these namespaces."""
        waiting = self._awaited.setdefault((name, str(version)), [])
        waiting.append(awaited := Awaited(name, set(namespaces), waiting))
        return awaited


class Awaited:
    """A version of a Secret in several namespaces, with the arrival times in seconds since the epoch."""

    def __init__(self, name: str, namespaces: set[str], waiting: list[Awaited]) -> None:
        self._name, self._left, self._waiting = name, namespaces, waiting
        self._done, self._first = asyncio.Event(), asyncio.Event()
        self.times: dict[str, float] = {}

    def take(self, namespace: str, now: float) -> None:
        """Record the arrival of the Secret in one namespace."""
        if namespace in self._left:
            self._left.discard(namespace)
            self.times[namespace] = now
            self._first.set()
            if not self._left:
                self._done.set()

    async def first(self, wait: float = 60) -> None:
        """Wait for the first arrival."""
        async with asyncio.timeout(wait):
            await self._first.wait()

    @property
    def complete(self) -> bool:
        """Whether the Secret has arrived in all namespaces."""
        return not self._left

    async def all(self, wait: float = 300) -> float:
        """Wait until the Secret has arrived in all namespaces.

        Returns:
            When the last one arrived, in seconds since the epoch.

        Raises:
            RuntimeError: If one does not arrive within `wait` seconds.
        """
        try:
            async with asyncio.timeout(wait):
                await self._done.wait()
        except TimeoutError:
            left = f"{len(self._left)} namespaces (one is {min(self._left)})"
            raise RuntimeError(f"Secret {self._name} did not arrive in {left} within {wait:.0f} s") from None
        finally:
            self._waiting.remove(self)
        return max(self.times.values())
