"""Lambda's event source mapping for an SQS FIFO queue: receives messages, and invokes a function.

It supports the partial batch response (`batchItemFailures`). Messages that it names, and all messages if the
function fails, return after the queue's visibility timeout, until the redrive policy moves them to the
dead-letter queue.
"""

from __future__ import annotations

from typing import Any

from .trigger import Trigger


def event_of(messages: list[dict[str, Any]], queue_url: str, region: str) -> dict[str, Any]:
    """Return Lambda's event for received messages."""
    account, name = queue_url.rsplit("/", 2)[1:]
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message.get("Attributes", {}),
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{region}:{account}:{name}",
                "awsRegion": region,
            }
            for message in messages
        ]
    }


def failed(answer: Any, messages: list[dict[str, Any]]) -> set[str]:
    """Return the IDs of the messages that failed, according to the function's response and Lambda's rules.

    An empty response or an empty list: all succeeded. An error, an unknown ID or no ID: all failed.
    """
    ids = {message["MessageId"] for message in messages}
    if answer is None or answer == {}:
        return set()
    if not isinstance(answer, dict) or "errorType" in answer:
        return ids
    named = [item.get("itemIdentifier") for item in answer.get("batchItemFailures") or []]
    return min(set(named), ids)


def main() -> None:
    """Run `python -m realparts.poller CONFIG`."""
    trigger = Trigger.of_command_line()
    trigger.run(lambda: _round(trigger), doing=f"polling {trigger.queue_url}")


def _round(trigger: Trigger) -> None:
    messages = trigger.receive(at_most=trigger.config["batch_size"])
    if not messages:
        return
    event = event_of(messages, trigger.queue_url, trigger.region)
    left = failed(trigger.invoke(event), messages)
    for message in messages:
        if message["MessageId"] not in left:
            trigger.delete(message)
    print(f"{len(messages)} messages, {len(left)} failed", flush=True)


if __name__ == "__main__":
    main()
