"""What starts dispatch in AWS: EventBridge Scheduler, and the rule for nudges.

moto keeps schedules and never fires them, and its rules reach queues only: so this invokes the function at each full interval, and
with the detail of every event in the queue of nudges.
"""

from __future__ import annotations

import datetime as dt
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import boto3

from .invocation import invoke


def main() -> None:
    """Run `python -m realparts.schedule CONFIG`."""
    config = json.loads(Path(sys.argv[1]).read_text())
    environment = config["environment"]
    sqs = boto3.client(
        "sqs",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"every {config['seconds']} s, and at a nudge", flush=True)
    due = 0.0
    while True:
        try:
            if time.time() >= due:
                due = (time.time() // config["seconds"] + 1) * config["seconds"]
                scheduled = dt.datetime.fromtimestamp(due - config["seconds"], dt.UTC)
                _invoke(config, {"time": scheduled.strftime("%Y-%m-%dT%H:%M:%SZ")})
            _nudges(sqs, config)
        except Exception as error:
            print(f"the queue or the function could not be reached: {error}", flush=True)
            time.sleep(1)


def _nudges(sqs: Any, config: dict[str, Any]) -> None:
    queue = config["queue_url"]
    messages = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        _invoke(config, json.loads(message["Body"])["detail"])
    if not messages:
        time.sleep(0.2)


def _invoke(config: dict[str, Any], event: dict[str, Any]) -> None:
    answer = invoke(config["function_url"], event, lock=Path(config["lock"]))
    print(f"{json.dumps(event)}: {json.dumps(answer)[:300]}", flush=True)


if __name__ == "__main__":
    main()
