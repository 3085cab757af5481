"""The edge of rotate: SQS records in, what failed out. Nothing is decided here."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import SqsFifoPartialProcessor, process_partial_response

from regcred.errors import RegcredError, TransientError
from regcred.rotate import Done, Outcome
from regcred.wiring import powertools
from regcred.wiring.rotate import rotate
from regcred.work import Message

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

RESERVE = timedelta(seconds=25)
"""What a registry that was begun may still need: no further one is started with less time left."""

logger = powertools.logger("rotate")
metrics = powertools.metrics("rotate")


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Rotate what the batch names. A message that failed is delivered again; those of other projects are done."""
    until = datetime.now(UTC) + timedelta(milliseconds=context.get_remaining_time_in_millis()) - RESERVE
    # Groups are projects, which do not depend on each other: only the failed one's later messages are held back.
    processor = SqsFifoPartialProcessor(skip_group_on_error=True)
    processor.raise_on_entire_batch_failure = False
    outcomes: list[Outcome] = []
    unreachable: list[TransientError] = []

    def one(record: SQSRecord) -> None:
        try:
            owner = f"{context.aws_request_id}/{record.message_id}"
            outcomes.extend(rotate().run(Message.parse(record.body), owner=owner, until=until))
        except RegcredError as error:
            logger.error("message failed", error=str(error), error_kind=error.kind)  # noqa: TRY400 - its line says all
            if isinstance(error, TransientError):
                unreachable.append(error)
            raise

    answer = process_partial_response(event=event, record_handler=one, processor=processor, context=context)
    _report(outcomes)
    metrics.add_metric("FailedMessages", MetricUnit.Count, len(answer["batchItemFailures"]))
    metrics.add_metric("VaultUnreachable", MetricUnit.Count, len(unreachable))
    return dict(answer)


def _report(outcomes: list[Outcome]) -> None:
    """One line per registry that was handled; metrics count them without a dimension per registry."""
    for outcome in outcomes:
        told = asdict(outcome) | {"reference": str(outcome.reference)}
        log = logger.warning if outcome.done is Done.FAILING else logger.info
        log(outcome.done.value, **{name: value for name, value in told.items() if value})
    counts = Counter(outcome.done for outcome in outcomes)
    metrics.add_metric("Handled", MetricUnit.Count, len(outcomes))
    metrics.add_metric("Rotated", MetricUnit.Count, counts[Done.ROTATED])
    metrics.add_metric("Failing", MetricUnit.Count, counts[Done.FAILING])
