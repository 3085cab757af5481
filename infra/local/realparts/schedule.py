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
import requests


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
                _invoke(config["function_url"], {"time": scheduled.strftime("%Y-%m-%dT%H:%M:%SZ")})
            _nudges(sqs, config["queue_url"], config["function_url"])
        except Exception as error:
            print(f"the queue or the function could not be reached: {error}", flush=True)
            time.sleep(1)


def _nudges(sqs: Any, queue: str, function: str) -> None:
    messages = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        _invoke(function, json.loads(message["Body"])["detail"])
    if not messages:
        time.sleep(0.2)


def _invoke(function: str, event: dict[str, Any]) -> None:
    session = requests.Session()
    session.trust_env = False
    answer = session.post(function, data=json.dumps(event), timeout=300).json()
    print(f"{json.dumps(event)}: {json.dumps(answer)[:300]}", flush=True)


if __name__ == "__main__":
    main()
