"""One run of sync, for a CronJob or a person."""

from __future__ import annotations

import asyncio

from regcred.clock import Clock, utc_now
from regcred.cluster.interface import Cluster
from regcred.cluster.model import SERVICE_ACCOUNT, Kind, Mode
from regcred.errors import MissingError, RefusedError
from regcred.sync.actions import Plan
from regcred.sync.engine import Engine, Options
from regcred.sync.metrics import Meter
from regcred.sync.report import Report
from regcred.vault.store import Store

ROUNDS = 5
"""The maximum number of passes. The effects of a pass can make another one necessary."""


async def run_once(
    cluster: Cluster,
    store: Store,
    options: Options,
    *,
    dry_run: bool = False,
    repair: bool = False,
    clock: Clock = utc_now,
    meter: Meter | None = None,
) -> tuple[Plan, Report]:
    """Sync a cluster once: observe, plan and apply until nothing remains to be done.

    Args:
        cluster: The cluster's API.
        store: The ``regcred/`` mount.
        options: The settings.
        dry_run: Only make the plan. Nothing is written, neither in the cluster nor in Vault.
        repair: Write everything in place again, to undo changes that others made to our Secrets.
        clock: Returns the time.
        meter: Measures.

    Returns:
        The first plan, and a report of what was done.

    Raises:
        RegcredError: the ledger or a kind of object can't be read, so a plan is not possible.
    """
    async with Engine(cluster, store, options, clock=clock, meter=meter) as engine:
        await asyncio.gather(engine.load(dry_run=dry_run), *(_list(engine, kind) for kind in engine.kinds()))
        if SERVICE_ACCOUNT in engine.kinds() and options.rules.mode is not Mode.SERVICEACCOUNT:
            await _list_accounts(engine)
        plan = await engine.reconcile(dry_run=dry_run)
        if dry_run:
            engine.report.failures += engine.sources.unreadable()
            return plan, engine.report
        latest = plan
        for _ in range(ROUNDS):
            await engine.drain()
            if latest.does_nothing:
                break
            latest = await engine.reconcile()
        if repair:
            for action in engine.repairs():
                engine.execution.repair(action)
        await engine.drain()
        engine.report.failures += engine.sources.health.problems.values()
        if not await engine.ledger.save():
            engine.report.failures.append("the ledger could not be written; the next run writes it")
        return plan, engine.report


async def _list(engine: Engine, kind: Kind) -> None:
    """List a kind. A user-configured kind that this cluster does not serve has no objects."""
    try:
        await engine.list_kind(kind)
    except MissingError:
        if not kind.custom:
            raise


async def _list_accounts(engine: Engine) -> None:
    """List ServiceAccounts for the namespaces that chose the mode serviceaccount.

    If RBAC forbids the list, only these namespaces are left out.
    """
    try:
        await engine.list_kind(SERVICE_ACCOUNT)
    except RefusedError as error:
        engine.report.failures.append(f"a namespace chose the mode {Mode.SERVICEACCOUNT}, but {error}")
