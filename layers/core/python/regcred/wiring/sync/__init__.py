"""Connects sync to the real cluster and the real Vault, and runs its loop as a process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pydantic import SecretStr

from regcred import __version__, tracing
from regcred.clock import utc_now
from regcred.cluster.interface import Cluster
from regcred.errors import MalformedError, RegcredError
from regcred.sync import Engine, Loop, Report, run_once
from regcred.sync.logging import log
from regcred.sync.metrics import Meter, Unmeasured
from regcred.vault.store import Store
from regcred.wiring.kubeconfig import named_files, usable
from regcred.wiring.sync.settings import SyncSettings

if TYPE_CHECKING:
    from regcred.cluster.session import KubeSession
    from regcred.vault.http import Server
    from regcred.vault.login import VaultLogin


SWITCH_SECONDS = 0.0005
"""How long a thread that calls Vault may hold the interpreter while the loop waits for it. With Python's
default of 5 ms, sync would more often be too late for the first Pod of a workload."""


def vault_server(settings: SyncSettings) -> Server:
    """The Vault server of the settings.

    Raises:
        MalformedError: the address is wrong.
    """
    from regcred.vault.http import Server

    return Server(settings.vault_addr, namespace=settings.vault_namespace, ca_file=settings.vault_ca_file)


def cluster_login(settings: SyncSettings) -> VaultLogin:
    """The sign-in as the cluster, with the projected ServiceAccount token."""
    from regcred.vault.login import JwtLogin, token_file

    mount = settings.vault_auth_mount or f"regcred-cluster-{settings.cluster}"
    return JwtLogin(mount, settings.vault_role, token_file(settings.vault_token_file))


def open_store(settings: SyncSettings, login: VaultLogin | None = None) -> Store:
    """The records in Vault, with ``login`` or else the sign-in as the cluster.

    Raises:
        MalformedError: the address or the CA file is wrong.
    """
    from regcred.vault.kv2 import connect

    return Store(
        connect(vault_server(settings), login or cluster_login(settings), mount=settings.vault_mount)
    )


def vault_changes(
    settings: SyncSettings, meter: Meter, login: VaultLogin | None = None
) -> AsyncIterator[str]:
    """The paths that change, from Vault's event subscription if the server has one."""
    from regcred.vault.events import changes
    from regcred.vault.http import VaultSession, client
    from regcred.vault.login import Tokens

    server = vault_server(settings)
    anonymous = client(server, VaultSession(server))
    tokens = Tokens(login or cluster_login(settings), anonymous, utc_now)

    async def token() -> SecretStr:
        return await asyncio.to_thread(tokens.token)

    states = [""]

    def on_state(state: str) -> None:
        if state != states[0]:
            log(logging.INFO, "subscription to Vault's events", state=state)
            meter.set("vault_events_connected", state == "connected")
        states[0] = state

    return changes(server, token, mount=settings.vault_mount, on_state=on_state)


@asynccontextmanager
async def open_cluster(
    settings: SyncSettings, meter: Meter, *, context: str | None = None
) -> AsyncIterator[Cluster]:
    """Connect to the cluster of this Pod. Outside of a Pod, connect to the cluster of the kubeconfig.

    Raises:
        MalformedError: no kubeconfig can be used.
    """
    from regcred.cluster.kube import Kube
    from regcred.cluster.object_parser import ObjectParser

    session = await _session(meter, context)
    try:
        yield Kube(
            session,
            ObjectParser(settings.kinds(), stuck_pods=settings.evict_stuck_pods),
            instance=os.environ.get("HOSTNAME") or socket.gethostname(),
            whole_pods=settings.whole_pods,
        )
    finally:
        await session.close()


async def _session(meter: Meter, context: str | None) -> KubeSession:
    from kubernetes.aio import config
    from kubernetes.aio.client import Configuration

    from regcred.cluster.session import KubeSession

    configuration = Configuration()

    def count(verb: str, path: str, status: int, seconds: float) -> None:
        resource = resource_of(path)
        meter.count("kubernetes_requests_total", verb=verb, resource=resource, code=str(status))
        if verb != "WATCH":
            meter.time("kubernetes_request_seconds", seconds, verb=verb)

    in_pod = context is None and "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ
    files = "" if in_pod else named_files()
    with usable(context):
        if in_pod:
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(
                files, context=context, client_configuration=configuration, persist_config=False
            )
        return KubeSession(configuration, count=count)


def resource_of(path: str) -> str:
    """The resource in an API path, without names: ``pods`` for ``/api/v1/namespaces/shop/pods``."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    match rest:
        case ["namespaces", _, resource, *_]:
            return resource
    return rest[0]


async def sync_once(
    settings: SyncSettings,
    *,
    dry_run: bool = False,
    say: Callable[[str], None] = print,
    login: VaultLogin | None = None,
    context: str | None = None,
) -> Report:
    """Make one run, for a CronJob or a person. Print the plan if ``dry_run``, else the actions done.

    Raises:
        RegcredError: the run could not make a plan.
    """
    store = open_store(settings, login)
    async with open_cluster(settings, Unmeasured(), context=context) as cluster:
        plan, report = await run_once(
            cluster, store, settings.options(), dry_run=dry_run, repair=settings.repair
        )
    done = (plan.lines() or ["nothing to do"]) if dry_run else [str(report)]
    for line in (*done, *report.failures):
        say(line)
    if plan.held and not dry_run:
        say(plan.brake())
        report.failures.append(plan.brake())
    return report


async def sync_forever(
    settings: SyncSettings, *, login: VaultLogin | None = None, context: str | None = None
) -> None:
    """Run the loop until SIGTERM or SIGINT.

    Raises:
        RegcredError: the settings of the cluster or of Vault can't be used.
    """
    from regcred.wiring.sync.metrics import Metrics
    from regcred.wiring.sync.server import serve

    sys.setswitchinterval(SWITCH_SECONDS)
    metrics = Metrics()
    store = open_store(settings, login)
    async with open_cluster(settings, metrics, context=context) as cluster:
        engine = Engine(cluster, store, settings.options(), meter=metrics)
        loop = Loop(engine, settings.pace(), changes=lambda: vault_changes(settings, metrics, login))
        running = asyncio.ensure_future(loop.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        async with serve(loop, metrics, port=settings.metrics_port):
            log(logging.INFO, "sync has started", cluster=settings.cluster, mode=settings.mode)
            try:
                await running
            except asyncio.CancelledError:
                log(logging.INFO, "sync has ended")


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run sync as a program: ``[--version] [--once] [--dry-run] [--repair] [--confirm-removals]``.

    Returns:
        The exit code: 0 if everything is in place, 1 if an action failed or the brake holds removals, 2 if
        the settings are wrong.
    """
    from regcred.wiring.sync.log_setup import set_up_logging
    from regcred.wiring.tracing import set_up as set_up_tracing

    if arguments == ["--version"]:
        sys.stdout.write(f"regcred-sync {__version__}\n")
        return 0
    known = {"--once", "--dry-run", "--repair", "--confirm-removals"}
    if unknown := [argument for argument in arguments if argument not in known]:
        sys.stderr.write(f"unknown argument {unknown[0]!r}; known are {', '.join(sorted(known))}\n")
        return 2
    try:
        settings = SyncSettings.load(environment)
        set_up_logging(settings.log_level)
        set_up_tracing("regcred-sync", environment)
        settings = settings.model_copy(
            update={
                "confirm_removals": settings.confirm_removals or "--confirm-removals" in arguments,
                "repair": settings.repair or "--repair" in arguments,
            }
        )
        if {"--once", "--dry-run", "--repair"} & set(arguments):
            report = asyncio.run(sync_once(settings, dry_run="--dry-run" in arguments))
            return 1 if report.failures else 0
        asyncio.run(sync_forever(settings))
    except MalformedError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except RegcredError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        tracing.flush()
    return 0
