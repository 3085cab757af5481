"""A function's response to an SQS FIFO event source with ReportBatchItemFailures.

It works like Powertools' ``SqsFifoPartialProcessor(skip_group_on_error=True)``, but in a few lines. That
class imports asyncio and the models of all event sources, which is a tenth of rotate's cold start. Contract:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def process_partially(event: Mapping[str, Any], handle: Callable[[str, str], None]) -> dict[str, Any]:
    """Handle each message of a batch. A failure delays the later messages of its group, but not other groups.

    Args:
        event: Lambda's event with the received messages.
        handle: Takes a message's body and ID. If it raises, the message is retried. It has logged the reason.

    Returns:
        The ``batchItemFailures``: messages that Lambda must not delete.
    """
    failed: list[str] = []
    groups: set[str] = set()
    for record in event["Records"]:
        group = record["attributes"]["MessageGroupId"]
        if group not in groups:
            try:
                handle(record["body"], record["messageId"])
                continue
            except Exception:  # noqa: BLE001 - Lambda needs a response after any error
                groups.add(group)
        failed.append(record["messageId"])
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in failed]}
