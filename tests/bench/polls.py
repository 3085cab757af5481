"""The load of a large fleet on Vault when nothing changes: simulated clusters poll the indexes of their
projects."""

from __future__ import annotations

import asyncio
import random
import time

import aiohttp
from fakes.sync_world import Mount
from pydantic import SecretStr

from bench.process import Cost
from bench.table import Table, median, percentile
from realparts.product import CLUSTER
from realparts.stack import Stack
from regcred.clock import utc_now
from regcred.vault.http import Server
from regcred.vault.kv2 import connect
from regcred.vault.login import TokenLogin
from regcred.vault.records.index import State

CLUSTERS = 1000
PROJECTS = 20
"""Projects in use in each cluster."""
ALL_PROJECTS = 200
REGISTRIES = 5
INTERVAL = 27.0
"""Seconds between two polls on average: 30, shortened at random by up to a fifth."""
SHORT_INTERVAL = 4.5
"""The same for the grants, and for the signal that a credential was revoked or removed: 5, shortened."""
DURATION_SECONDS = 20.0
POLICY = 'path "regcred/metadata/credentials/+/_index" { capabilities = ["read"] }'


async def polls(stack: Stack, table: Table) -> None:
    """Send requests at the rate of the whole fleet, each with the token of a random cluster."""
    await asyncio.to_thread(stack.up, ["vault"])
    tokens = await asyncio.to_thread(_prepare, stack)
    rate = CLUSTERS * (PROJECTS / INTERVAL + 2 / SHORT_INTERVAL)
    vault = stack.vault
    process, size = Cost(stack.processes.pid(vault.name) or 0), vault.audit_log.stat().st_size
    took: list[float] = []
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=64)) as http:

        async def poll() -> None:
            project = f"project-{random.randrange(ALL_PROJECTS)}"
            url = f"{vault.addr}/v1/regcred/metadata/credentials/{project}/_index"
            began = time.monotonic()
            async with http.get(url, headers={"X-Vault-Token": random.choice(tokens)}) as response:
                await response.read()
                response.raise_for_status()
            took.append(time.monotonic() - began)

        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(rate * DURATION_SECONDS)):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                tasks.create_task(poll())
        seconds = time.monotonic() - began
    written = (vault.audit_log.stat().st_size - size) / len(took)
    reached = len(took) / seconds
    table.add(
        f"polls of {CLUSTERS:,} clusters x {PROJECTS} projects, of their grants and of the signal",
        goal=f"{rate:.0f}/s",
        ours=f"{reached:.0f}/s, {process.cpu / seconds:.0%} of a core, {process.cpu / len(took) * 1000:.2f} "
        "ms each",
        holds=reached >= 0.98 * rate,
    )
    table.add(
        "a poll's answer, median / p95",
        ours=f"{median(took) * 1000:.1f} / {percentile(took, 0.95) * 1000:.1f} ms",
    )
    table.add("audit log", ours=f"{written:.0f} bytes a poll, {written * rate * 86400 / 1e9:.0f} GB a day")


def _prepare(stack: Stack) -> list[str]:
    """Create projects with an index each, and return a token for each cluster."""
    token = SecretStr(stack.vault.root_token)
    mount = Mount(connect(Server(stack.vault.addr), TokenLogin(lambda: token)), utc_now, CLUSTER)
    for project in range(ALL_PROJECTS):
        for registry in range(REGISTRIES):
            mount.index(f"project-{project}/r{registry}", state=State.OK, version=1)
    stack.vault.call("PUT", "sys/policies/acl/bench-polls", {"policy": POLICY})
    create = {"policies": ["bench-polls"], "no_parent": True, "no_default_policy": True}
    answers = (stack.vault.call("POST", "auth/token/create", create) for _ in range(CLUSTERS))
    return [stack.remember_secret(str(answer["auth"]["client_token"])) for answer in answers]
