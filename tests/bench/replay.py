"""Records the writes of an `apply`, and sends the same ones with a bare client.

A bare client shows what the server can do: it plans nothing, reads nothing and checks nothing.

`python -m bench.replay FILE COMMAND…` runs a command of `regcred` and records its writes in FILE.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from realparts.vault import Vault
from regcred.cli import main
from regcred.declare.live_objects import WORKERS
from regcred.vault.http import VaultSession

_IDS = re.compile(r"auth_[a-z]+_[0-9a-f]{8}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What a server chooses itself: accessors of sign-in methods, and IDs of entities."""

_NAMED_IDS = ("identity/entity-alias", "identity/group")
"""The folders whose documents contain such IDs."""


@dataclass(frozen=True, slots=True)
class Write:
    """One request."""

    path: str
    body: str

    @property
    def folder(self) -> str:
        """Writes to one folder don't depend on each other, but on those to folders that come first."""
        return re.sub(r"(-?)\b(team|edge|r)-[0-9]+\b", "N", self.path)


def record(file: Path) -> None:
    """Run the command line with the rest of the arguments, and write its writes to a file."""
    writes: list[dict[str, str]] = []
    lock, request = threading.Lock(), VaultSession.request

    def recorded(self: VaultSession, method: str, url: str, *rest: Any, **options: Any) -> Any:
        if method.upper() == "POST":
            with lock:
                path = url.partition("/v1/")[2]
                writes.append({"path": path, "body": json.dumps(options.get("json") or {})})
        return request(self, method, url, *rest, **options)

    VaultSession.request = recorded  # type: ignore[method-assign]
    try:
        main()
    finally:
        file.write_text("\n".join(map(json.dumps, writes)))


def recorded_writes(file: Path) -> list[Write]:
    """The recorded writes, folder by folder in the order of the first write to each."""
    writes = [Write(**json.loads(line)) for line in file.read_text().splitlines()]
    order: dict[str, int] = {}
    for write in writes:
        order.setdefault(write.folder, len(order))
    return sorted(writes, key=lambda write: order[write.folder])


def ids_of(server: Vault) -> dict[str, str]:
    """By name, the IDs that a server chose."""
    methods = server.call("GET", "sys/auth")["data"]
    entities = server.call("GET", "identity/entity/id?list=true")["data"]["key_info"]
    return {
        **{f"method {name}": str(method["accessor"]) for name, method in methods.items()},
        **{f"entity {entity['name']}": key for key, entity in entities.items()},
    }


def replay(server: Vault, writes: Iterable[Write], ids: Mapping[str, str]) -> float:
    """Send writes to an empty server.

    Args:
        server: The server.
        writes: The writes.
        ids: The IDs on the server where they were recorded.

    Returns:
        The seconds that it took.
    """
    spent = 0.0
    for folder, found in groupby(writes, key=lambda write: write.folder):
        group = list(found)
        if folder.startswith(_NAMED_IDS):
            group = _with_ids(group, ids, ids_of(server))
        began = time.monotonic()
        send_all(server, group)
        spent += time.monotonic() - began
        if folder.startswith("sys/mounts"):
            time.sleep(1)  # until the new mount is ready; not counted
    return spent


def _with_ids(writes: Iterable[Write], ids: Mapping[str, str], mine: Mapping[str, str]) -> list[Write]:
    """Replace the IDs of the recorded server by those of this one."""
    names = {key: name for name, key in ids.items()}
    return [Write(write.path, _IDS.sub(lambda match: mine[names[match[0]]], write.body)) for write in writes]


def send_all(server: Vault, writes: list[Write]) -> None:
    """Send writes over as many connections as `apply` opens, with the standard library."""
    address = urlsplit(server.addr)
    headers = {"X-Vault-Token": server.root_token, "Content-Type": "application/json"}

    def work(worker: int) -> None:
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        for write in writes[worker::WORKERS]:
            connection.request("POST", f"/v1/{write.path}", write.body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status >= http.client.BAD_REQUEST:
                raise RuntimeError(f"the bare client got {answer.status} for {write.path}")
        connection.close()

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))


if __name__ == "__main__":
    record(Path(sys.argv.pop(1)))
