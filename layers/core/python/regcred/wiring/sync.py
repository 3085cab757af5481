"""Joins sync to the real cluster and the real Vault: settings, sign-in, the process around the loop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from regcred.cluster.interface import Cluster
from regcred.cluster.model import WORKLOADS, Kind, Mode, custom_kind
from regcred.cluster.view import Rules
from regcred.errors import MalformedError, RegcredError
from regcred.reference import check_label
from regcred.settings import PREFIX, malformed
from regcred.sync import Engine, Loop, Options, Pace, Report, run_once
from regcred.sync.desk import Meter, Unmeasured, log, utc_now
from regcred.vault.store import Store
from regcred.wiring.kubeconfig import usable

if TYPE_CHECKING:
    from regcred.cluster.session import Session
    from regcred.vault.http import Server
    from regcred.vault.login import Login

TOKEN_FILE = "/var/run/secrets/regcred/vault-token"  # noqa: S105 - where the chart projects it
"""The projected ServiceAccount token that signs in to Vault."""


def _words(value: Any) -> Any:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


class SyncSettings(BaseModel):
    """What sync is told by its environment: each field is the variable ``REGCRED_<FIELD>``. No secret is among them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    cluster: str
    """The cluster's name in Vault, a DNS label."""
    vault_addr: str = Field(pattern=r"^https?://")
    """The address of Vault or OpenBao; ``VAULT_ADDR`` counts as well."""
    vault_namespace: str = ""
    vault_mount: str = "regcred"
    vault_auth_mount: str = ""
    """The cluster's own JWT sign-in method; ``regcred-cluster-<cluster>`` unless given."""
    vault_role: str = "sync"
    vault_token_file: Path = Path(TOKEN_FILE)
    """The JWT to sign in with, read anew at each sign-in."""
    vault_ca_file: str = ""
    mode: Mode = Mode.ADMISSION
    allowed_modes: Annotated[tuple[Mode, ...], BeforeValidator(_words)] = tuple(Mode)
    """What a namespace may choose by its label besides ``mode``; every mode unless given."""
    workload_kinds: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """Custom workload kinds, ``<group>/<version>/<plural>/<Kind>``, by white space or commas."""
    excluded_namespaces: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """Namespaces that the admission policies leave alone."""
    evict_stuck_pods: bool = False
    grace_seconds: float = Field(default=600, ge=0)
    """How long a Secret must be unneeded before it is removed."""
    max_removal_share: float = Field(default=0.2, ge=0, le=1)
    """The brake: a run that would remove more than this share of what is in place removes nothing."""
    confirm_removals: bool = False
    repair: bool = False
    """One run only: write all that is in place once more."""
    poll_seconds: float = Field(default=30, ge=1)
    """How often the index of a project in use is asked for."""
    relist_seconds: float = Field(default=3600, ge=60)
    """How often each kind is listed whole."""
    metrics_port: int = Field(default=8080, ge=0, le=65535)
    """Where /metrics, /healthz and /readyz are served; 0 for nowhere."""
    log_level: str = Field(default="info", pattern=r"^(debug|info|warning|error)$")

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings.

        Args:
            environment: Such as ``os.environ``. Empty variables count as not set.

        Raises:
            MalformedError: names each variable that is missing or wrong, and what it must be.
        """
        given = {name: environment.get(PREFIX + name.upper()) for name in cls.model_fields}
        given["vault_addr"] = given["vault_addr"] or environment.get("VAULT_ADDR")
        try:
            settings = cls.model_validate({name: value for name, value in given.items() if value})
        except ValidationError as error:
            raise malformed(error) from None
        check_label(settings.cluster, field=f"{PREFIX}CLUSTER")
        settings.kinds()
        return settings

    def kinds(self) -> tuple[Kind, ...]:
        """All workload kinds."""
        return (*WORKLOADS, *(custom_kind(text) for text in self.workload_kinds))

    @property
    def whole_pods(self) -> bool:
        """Whether bare Pods are read whole: their metadata tells neither their ServiceAccount nor whether they are stuck."""
        return self.evict_stuck_pods or self.options().rules.allows(Mode.SERVICEACCOUNT)

    def options(self) -> Options:
        """What the engine is told."""
        rules = Rules(
            cluster=self.cluster,
            mode=self.mode,
            allowed=frozenset(self.allowed_modes),
            excluded=frozenset(self.excluded_namespaces),
            grace=timedelta(seconds=self.grace_seconds),
            max_removal_share=self.max_removal_share,
            removals_confirmed=self.confirm_removals,
        )
        return Options(rules, self.kinds())

    def pace(self) -> Pace:
        """How often the loop does things."""
        return replace(
            Pace(), poll=timedelta(seconds=self.poll_seconds), relist=timedelta(seconds=self.relist_seconds)
        )


def vault_server(settings: SyncSettings) -> Server:
    """Where Vault is.

    Raises:
        MalformedError: the address is wrong.
    """
    from regcred.vault.http import Server

    return Server(settings.vault_addr, namespace=settings.vault_namespace, ca_file=settings.vault_ca_file)


def cluster_login(settings: SyncSettings) -> Login:
    """The sign-in as the cluster, by the projected ServiceAccount token."""
    from regcred.vault.login import JwtLogin, token_file

    mount = settings.vault_auth_mount or f"regcred-cluster-{settings.cluster}"
    return JwtLogin(mount, settings.vault_role, token_file(settings.vault_token_file))


def open_store(settings: SyncSettings, login: Login | None = None) -> Store:
    """The mount, signed in to as the cluster, or as ``login`` says.

    Raises:
        MalformedError: the address or the CA file is wrong.
    """
    from regcred.vault.kv2 import connect

    return Store(
        connect(vault_server(settings), login or cluster_login(settings), mount=settings.vault_mount)
    )


def vault_changes(settings: SyncSettings, meter: Meter, login: Login | None = None) -> AsyncIterator[str]:
    """Vault's own events, where the server has them."""
    from regcred.vault.events import changes
    from regcred.vault.http import VaultSession, client
    from regcred.vault.login import Tokens

    server = vault_server(settings)
    anonymous = client(server, VaultSession(server))
    tokens = Tokens(login or cluster_login(settings), anonymous, utc_now)

    async def token() -> SecretStr:
        return await asyncio.to_thread(tokens.token)

    states = [""]

    def told(state: str) -> None:
        if state != states[0]:
            log(logging.INFO, "subscription to Vault's events", state=state)
            meter.set("vault_events_connected", state == "connected")
        states[0] = state

    return changes(server, token, mount=settings.vault_mount, told=told)


@asynccontextmanager
async def open_cluster(
    settings: SyncSettings, meter: Meter, *, context: str | None = None
) -> AsyncIterator[Cluster]:
    """The cluster that we run in, or the kubeconfig's if we run in none.

    Raises:
        MalformedError: there is no usable kubeconfig.
    """
    from regcred.cluster.kube import Kube
    from regcred.cluster.reduce import Reducer

    session = await _session(meter, context)
    try:
        yield Kube(
            session,
            Reducer(settings.kinds(), stuck_pods=settings.evict_stuck_pods),
            instance=os.environ.get("HOSTNAME") or socket.gethostname(),
            whole_pods=settings.whole_pods,
        )
    finally:
        await session.close()


async def _session(meter: Meter, context: str | None) -> Session:
    from kubernetes.aio import config
    from kubernetes.aio.client import Configuration

    from regcred.cluster.session import Session

    configuration = Configuration()

    def count(verb: str, path: str, status: int, seconds: float) -> None:
        resource = resource_of(path)
        meter.count("kubernetes_requests_total", verb=verb, resource=resource, code=str(status))
        if verb != "WATCH":
            meter.time("kubernetes_request_seconds", seconds, verb=verb)

    with usable(context):
        if context is None and "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(
                context=context, client_configuration=configuration, persist_config=False
            )
        return Session(configuration, count=count)


def resource_of(path: str) -> str:
    """The resource in an API path, without names: ``/api/v1/namespaces/shop/pods`` is ``pods``."""
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
    login: Login | None = None,
    context: str | None = None,
) -> Report:
    """One run, as a CronJob or a person asks for it; says the plan if ``dry_run``, else what was done.

    Raises:
        RegcredError: nothing could be planned.
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
    settings: SyncSettings, *, login: Login | None = None, context: str | None = None
) -> None:
    """Run the loop until SIGTERM or SIGINT.

    Raises:
        RegcredError: the settings don't lead to a cluster or a Vault.
    """
    from regcred.wiring.sync_metrics import Metrics
    from regcred.wiring.sync_server import serve

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
    """The function's entry: ``[--once] [--dry-run] [--repair] [--confirm-removals]``.

    Returns:
        0 if all is in line, 1 if something failed or was held back, 2 if the settings are wrong.
    """
    from regcred.wiring.sync_log import set_up_logging

    known = {"--once", "--dry-run", "--repair", "--confirm-removals"}
    if unknown := [argument for argument in arguments if argument not in known]:
        sys.stderr.write(f"unknown argument {unknown[0]!r}; known are {', '.join(sorted(known))}\n")
        return 2
    try:
        settings = SyncSettings.load(environment)
        set_up_logging(settings.log_level)
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
    return 0
