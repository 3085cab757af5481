"""The common part of the poller and the schedule: a queue, a function, and a loop until SIGTERM."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

from .invocation import invoke


class Trigger:
    """One function and one queue, which a configuration file of :class:`Lambda` names."""

    def __init__(self, config: Path) -> None:
        self.config: dict[str, Any] = json.loads(config.read_text())
        environment = self.config["environment"]
        self.region = str(environment["AWS_REGION"])
        self.queue_url = str(self.config["queue_url"])
        self._sqs: Any = boto3.client(
            "sqs",
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            region_name=self.region,
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )

    @classmethod
    def of_command_line(cls) -> Trigger:
        """Return the trigger of the file in the only argument."""
        return cls(Path(sys.argv[1]))

    def run(self, one_round: Callable[[], None], *, doing: str) -> None:
        """Run rounds until SIGTERM. After an error, print it and try again a second later.

        Args:
            one_round: one round, which waits for work.
            doing: the text to print at the start.
        """
        # Stop between two rounds: the emulator crashes if an invocation begins while one without a caller
        # still runs.
        stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
        print(doing, flush=True)
        while not stopping.is_set():
            try:
                one_round()
            except Exception as error:
                print(f"the queue or the function could not be reached: {error}", flush=True)
                time.sleep(1)

    def receive(self, *, at_most: int = 1) -> list[dict[str, Any]]:
        """Return messages from the queue; none if it stays empty for about a second."""
        answer = self._sqs.receive_message(
            QueueUrl=self.queue_url,
            MaxNumberOfMessages=at_most,
            WaitTimeSeconds=1,
            AttributeNames=["All"],
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        if not messages:
            time.sleep(0.2)
        return messages

    def delete(self, message: dict[str, Any]) -> None:
        """Delete a message from the queue."""
        self._sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])

    def invoke(self, event: dict[str, Any]) -> Any:
        """Invoke the function and return its response or error."""
        return invoke(self.config["function_url"], event, lock=Path(self.config["lock"]))
