"""The entry point of rotate: SQS records in, failed records out. It decides nothing."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit

from regcred import tracing
from regcred.adapters.sqs_receiver import process_partially
from regcred.errors import MalformedError, RegcredError, TransientError
from regcred.log import describe_bug
from regcred.rotate import RESERVE, Outcome, OutOfTimeError, RotationResult
from regcred.rotation_message import RotationMessage
from regcred.wiring import powertools
from regcred.wiring.rotate import rotate
from regcred.wiring.tracing import set_up

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = powertools.logger("rotate")
metrics = powertools.metrics("rotate")
set_up("regcred-rotate", os.environ)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Rotate the registries that the batch names.

    A failed message is delivered again. Messages of other projects are not affected. A message that can't be
    parsed is logged and dropped, because it would only delay its group. The next sweep sends everything that
    is due.
    """
    until = datetime.now(UTC) + timedelta(milliseconds=context.get_remaining_time_in_millis()) - RESERVE
    outcomes: list[Outcome] = []
    unreachable = 0
    malformed = 0

    def handle(body: str, identifier: str) -> None:
        nonlocal unreachable, malformed
        try:
            message = RotationMessage.parse(body)
        except MalformedError as error:
            malformed += 1
            logger.error("message dropped", error=str(error), error_kind=error.kind, message_id=identifier)  # noqa: TRY400 - the line says everything
            return
        try:
            owner = f"{context.aws_request_id}/{identifier}"
            done = rotate().run(message, owner=owner, until=until)
            outcomes.extend(done.outcomes)
            done.check()
        except RegcredError as error:
            unreachable += isinstance(error, TransientError) and not isinstance(error, OutOfTimeError)
            logger.error("message failed", error=str(error), error_kind=error.kind)  # noqa: TRY400 - the line says everything
            raise
        except Exception as error:
            logger.error("message failed: a bug", **describe_bug(error))  # noqa: TRY400 - its text may be a secret
            raise

    answer = process_partially(event, handle)
    tracing.flush()  # Lambda freezes the process
    _report(outcomes)
    metrics.add_metric("FailedMessages", MetricUnit.Count, len(answer["batchItemFailures"]))
    metrics.add_metric("MalformedMessages", MetricUnit.Count, malformed)
    metrics.add_metric("VaultUnreachable", MetricUnit.Count, unreachable)
    return answer


def _report(outcomes: list[Outcome]) -> None:
    """Log one line per handled registry. Metrics count them without a dimension per registry."""
    for outcome in outcomes:
        fields = asdict(outcome) | {"reference": str(outcome.reference)}
        log = logger.warning if outcome.done is RotationResult.FAILING else logger.info
        log(outcome.done.value, **{name: value for name, value in fields.items() if value})
    counts = Counter(outcome.done for outcome in outcomes)
    metrics.add_metric("Handled", MetricUnit.Count, len(outcomes))
    metrics.add_metric("Rotated", MetricUnit.Count, counts[RotationResult.ROTATED])
    metrics.add_metric("Failing", MetricUnit.Count, counts[RotationResult.FAILING])
