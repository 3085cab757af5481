"""The entry point of dispatch: a schedule's or a nudge's event in, messages out. It decides nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from regcred import tracing
from regcred.dispatch import QueueError, Sweep, SweepReport
from regcred.errors import RegcredError, TransientError
from regcred.log import describe_bug
from regcred.vault.records.document import malformed
from regcred.wiring import powertools
from regcred.wiring.dispatch import dispatch
from regcred.wiring.tracing import set_up

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = powertools.logger("dispatch")
metrics = powertools.metrics("dispatch")
set_up("regcred-dispatch", os.environ)


class Trigger(BaseModel):
    """The event that starts a sweep.

    The schedule sends its time. A nudge names a project. An empty event means all projects, now.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    time: AwareDatetime | None = None
    project: str | None = None


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:  # noqa: ARG001 - the runtime's contract
    """Run one sweep. The returned summary is for people who invoke the function by hand."""
    try:
        trigger = _trigger(event)
        wired = dispatch()
        at = trigger.time or datetime.now(UTC).replace(microsecond=0)
        report = wired.verb.run(Sweep(at, wired.settings.interval), only=trigger.project)
        tracing.flush()  # Lambda freezes the process
    except RegcredError as error:
        metrics.add_metric("VaultUnreachable", MetricUnit.Count, int(_vault_is_away(error)))
        logger.error("sweep failed", error=str(error), error_kind=error.kind)  # noqa: TRY400 - the line says everything
        raise
    except Exception as error:  # noqa: BLE001 - its text may be a secret, and the runtime prints errors
        metrics.add_metric("VaultUnreachable", MetricUnit.Count, 0)
        details = describe_bug(error)
        logger.error("sweep failed: a bug", **details)  # noqa: TRY400 - see above
        raise RegcredError(f"unexpected {details['error']} at {details['at']}; this is a bug") from None
    _report(report, whole=trigger.project is None)
    return {"projects": report.projects, "messages": report.messages, "unreadable": len(report.unreadable)}


def _trigger(event: dict[str, Any]) -> Trigger:
    try:
        return Trigger.model_validate(event)
    except ValidationError as error:
        raise malformed(error, where="dispatch event") from None


def _vault_is_away(error: RegcredError) -> bool:
    return isinstance(error, TransientError) and not isinstance(error, QueueError)


def _report(report: SweepReport, *, whole: bool) -> None:
    for name, error in report.unreadable.items():
        logger.error("could not be read", where=name, error=str(error), error_kind=error.kind)
    for project, count in report.left_out.items():
        logger.error("registries over the project's limit are not rotated", project=project, registries=count)
    metrics.add_metric("Messages", MetricUnit.Count, report.messages)
    metrics.add_metric("Dispatched", MetricUnit.Count, sum(report.reasons.values()))
    if whole:  # the counts of one project would hide the failures of others from the alarms
        away = any(_vault_is_away(error) for error in report.unreadable.values())
        metrics.add_metric("VaultUnreachable", MetricUnit.Count, int(away))
        metrics.add_metric("Unreadable", MetricUnit.Count, len(report.unreadable))
        metrics.add_metric("Registries", MetricUnit.Count, report.health.registries)
        metrics.add_metric("FailingRegistries", MetricUnit.Count, report.health.failing)
        metrics.add_metric("LastQuarter", MetricUnit.Count, report.health.last_quarter)
        metrics.add_metric("Expired", MetricUnit.Count, report.health.expired)
    logger.info(
        "sweep done", projects=report.projects, messages=report.messages, reasons=dict(report.reasons)
    )
