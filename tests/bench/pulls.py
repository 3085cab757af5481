"""First pulls on a real node: does the first Pod of a new namespace find its Secret in time?"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from itertools import product as product_of
from typing import Any

from pydantic import SecretStr

from bench.api import Api
from bench.table import Table, median
from bench.world import MAIN, Sync, World, deployment, namespace
from realparts.product import Product
from realparts.stack import Stack
from regcred.clock import utc_now
from regcred.credential import Credential, Login
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.index import State

PODS = 50
GOAL = 0.98
FIRST_PODS = 20
GOAL_OF_FIRST_PODS = 0.95
BACK_OFF = 10.0
"""The kubelet's first back-off of a failed pull, in seconds."""


async def pulls(stack: Stack, table: Table) -> None:
    """Create namespaces at the same time, each with an annotated Deployment of a private image."""
    parts = ["vault", "kubernetes", "registry", "node"]
    await asyncio.to_thread(stack.up, parts)
    product = Product(stack)
    await asyncio.to_thread(product.install_chart)
    async with Api.open(stack) as api:
        here = World(stack, api, product)
        here.allow(MAIN.project, parts=parts)
        await asyncio.to_thread(_publish, here)
        spaces = [f"pulls-{number:02d}" for number in range(PODS)]
        here.mount.grant({MAIN.project: spaces})
        sync = Sync(here)
        sync.start()
        await asyncio.sleep(5)
        image = f"{stack.registry.host}/private/app:1"
        await asyncio.gather(*(_deploy(api, space, image) for space in spaces))
        found = [await _wait_for_running_pod(api, space) for space in spaces]
        failures = await _failed_namespaces(api)
        sync.stop()
    good = sum(space not in failures for space in spaces) / PODS
    took = [seconds for seconds, _ in found]
    usual = median([seconds for seconds, space in found if space not in failures] or [0.0])
    late = [seconds for seconds, space in found if space in failures]
    table.add(
        f"{PODS} new namespaces with a Deployment each: Pods whose first pull succeeds",
        goal=f">= {GOAL:.0%}",
        ours=f"{good:.0%}",
        holds=good >= GOAL,
    )
    table.add(
        "the others run",
        goal="within the kubelet's first back-off",
        ours=", ".join(f"{seconds:.0f} s after creation" for seconds in late) or "no others",
        holds=all(seconds <= BACK_OFF + usual for seconds in late),
    )
    table.note(
        f"from the Pod's creation until it runs: median {median(took):.1f} s, longest {max(took):.1f} s"
    )


async def first_pods(stack: Stack, table: Table) -> None:
    """Create workloads in mode serviceaccount, one after the other, in existing and in new namespaces.

    If a first Pod is created before its ServiceAccount names the Secret, sync evicts the Pod.
    """
    parts = ["vault", "kubernetes", "registry", "node"]
    await asyncio.to_thread(stack.up, parts)
    product = Product(stack)
    await asyncio.to_thread(product.install_chart, "mode=serviceaccount", "serviceAccountMode.prepare=true")
    async with Api.open(stack) as api:
        here = World(stack, api, product)
        here.allow(MAIN.project, parts=parts)
        await asyncio.to_thread(_publish, here)
        for prepare, is_new in product_of((True, False), (False, True)):
            good, took = await _first_pods(here, prepare=prepare, is_new=is_new)
            what = (
                f"{'prepared' if prepare else 'not prepared'}, {'new' if is_new else 'existing'} namespaces"
            )
            table.add(
                f"{FIRST_PODS} new workloads in mode serviceaccount, {what}: "
                "first Pods whose first pull succeeds",
                goal=f">= {GOAL_OF_FIRST_PODS:.0%}" if prepare else "",
                ours=f"{good / FIRST_PODS:.0%}",
                holds=good / FIRST_PODS >= GOAL_OF_FIRST_PODS if prepare else None,
            )
            table.note(
                f"from the workload until a Pod runs, {what}: median {median(took):.1f} s, longest "
                f"{max(took):.1f} s"
            )


async def _first_pods(here: World, *, prepare: bool, is_new: bool) -> tuple[int, list[float]]:
    """Return how many first pulls succeeded, and the seconds until each workload has a running Pod."""
    api = here.api
    name = f"first-{'prepared' if prepare else 'bare'}{'-new' if is_new else ''}"
    spaces = [f"{name}-{number:02d}" for number in range(FIRST_PODS + 1)]
    here.mount.grant({MAIN.project: spaces})
    sync = Sync(
        here, MODE="serviceaccount", EVICT_STUCK_PODS="true", PREPARE_GRANTED="true" if prepare else ""
    )
    sync.start()
    for space in spaces[:1] if is_new else spaces:
        await api.send("POST", "/api/v1/namespaces", namespace(space))
    # When the first one has its Secret, sync is ready and knows the project's index.
    probe = deployment(spaces[0], (MAIN,))
    await api.send("POST", f"/apis/apps/v1/namespaces/{spaces[0]}/deployments", probe)
    for space in spaces if prepare and not is_new else spaces[:1]:
        await _wait_for_secret_name(api, space)
    image = f"{here.stack.registry.host}/private/app:1"
    took = []
    for space in spaces[1:]:
        began = time.monotonic()
        await _deploy(api, space, image, is_new=is_new)
        await _wait_for_running_pod(api, space)
        took.append(time.monotonic() - began)
    failed = await _failed_namespaces(api)
    sync.stop()
    return sum(space not in failed for space in spaces[1:]), took


async def _wait_for_secret_name(api: Api, space: str, wait: float = 60) -> None:
    """Wait until the ServiceAccount of a namespace names a Secret."""
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        account = await api.send("GET", f"/api/v1/namespaces/{space}/serviceaccounts/default")
        if account.get("imagePullSecrets"):
            return
        await asyncio.sleep(0.2)
    raise RuntimeError(f"the ServiceAccount of {space} names no Secret after {wait:.0f} s")


def _publish(here: World) -> None:
    registry = here.stack.registry
    here.stack.push_image("private/app")
    password = here.stack.remember_secret(registry.add_user("puller", pull=["private/*"]))
    now = utc_now()
    login = Login("puller", SecretStr(password), (registry.host,))
    record = CredentialRecord.of(Credential("basic", (login,), now), reference=MAIN, fingerprint="bench")
    here.mount.store.write_credential(MAIN, record, cas=0)
    here.mount.index(str(MAIN), state=State.OK, version=1)


async def _deploy(api: Api, space: str, image: str, *, is_new: bool = True) -> None:
    item = deployment(space, (MAIN,))
    spec = item["spec"]["template"]["spec"]
    item["spec"]["replicas"] = 1
    spec |= {"hostNetwork": True, "terminationGracePeriodSeconds": 0}
    spec["containers"][0] |= {"image": image, "imagePullPolicy": "Always"}
    if is_new:
        await api.send("POST", "/api/v1/namespaces", namespace(space))
    await api.send("POST", f"/apis/apps/v1/namespaces/{space}/deployments", item)


async def _wait_for_running_pod(api: Api, space: str, wait: float = 180) -> tuple[float, str]:
    """Wait for a running container; return the whole seconds from its Pod's creation, and the namespace."""
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        for pod in (await api.send("GET", f"/api/v1/namespaces/{space}/pods"))["items"]:
            for container in pod["status"].get("containerStatuses", ()):
                if running := container["state"].get("running"):
                    created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
                    return (datetime.fromisoformat(running["startedAt"]) - created).total_seconds(), space
        await asyncio.sleep(0.5)
    raise RuntimeError(f"the Pod in {space} does not run after {wait:.0f} s")


async def _failed_namespaces(api: Api) -> set[str]:
    """The namespaces that have an Event about a failed pull."""
    events: list[dict[str, Any]] = (await api.send("GET", "/api/v1/events"))["items"]
    return {
        event["involvedObject"]["namespace"]
        for event in events
        if event["involvedObject"]["kind"] == "Pod"
        if event["reason"] in {"Failed", "BackOff"} and "pull" in event["message"]
    }
