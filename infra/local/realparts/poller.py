"""What Lambda does between an SQS FIFO queue and a function: receive, invoke, delete what succeeded.

It honours the partial batch response (`batchItemFailures`): what is named there, and everything when the function fails,
stays and comes back after the queue's visibility timeout, until the queue's redrive policy moves it to the dead letters.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import boto3

from .invocation import invoke


def event_of(messages: list[dict[str, Any]], queue_url: str, region: str) -> dict[str, Any]:
    """Return the event that Lambda makes of received messages."""
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
    """Return the ids of the messages that must come back, from the function's answer, by Lambda's rules.

    Nothing or an empty list: all succeeded. An error, an unknown id or no id: all failed.
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
    config = json.loads(Path(sys.argv[1]).read_text())
    environment = config["environment"]
    sqs = boto3.client(
        "sqs",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    # The emulator dies if it is invoked while it still runs an invocation whose caller is gone: end between two rounds.
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    print(f"polling {config['queue_url']}", flush=True)
    while not stopping.is_set():
        try:
            _round(sqs, config, environment["AWS_REGION"])
        except Exception as error:
            print(f"the queue or the function could not be reached: {error}", flush=True)
            time.sleep(1)


def _round(sqs: Any, config: dict[str, Any], region: str) -> None:
    url = config["queue_url"]
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=config["batch_size"], WaitTimeSeconds=1, AttributeNames=["All"]
    )
    messages = answer.get("Messages", [])
    if not messages:
        time.sleep(0.2)
        return
    event = event_of(messages, url, region)
    left = failed(invoke(config["function_url"], event, lock=Path(config["lock"])), messages)
    for message in messages:
        if message["MessageId"] not in left:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    print(f"{len(messages)} messages, {len(left)} failed", flush=True)


if __name__ == "__main__":
    main()
