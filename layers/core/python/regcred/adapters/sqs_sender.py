"""The queue between dispatch and rotate, over SQS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from regcred.adapters.aws_clients import batches, own_client
from regcred.errors import TransientError
from regcred.registry import aws

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from regcred.dispatch import QueuedMessage


@dataclass(frozen=True)
class SqsQueue:
    """:class:`regcred.dispatch.Queue` over SQS FIFO.

    Each project is a group, and its revocations are another group.
    """

    url: str

    @cached_property
    def _client(self) -> SQSClient:
        client: SQSClient = own_client("sqs")
        return client

    def send(self, messages: Sequence[QueuedMessage]) -> None:
        """See :class:`Queue`."""
        failed = sum(self._send(part) for part in batches(messages))
        if failed:
            raise TransientError(
                f"SQS did not accept {failed} of {len(messages)} messages; the next sweep sends them"
            )

    def _send(self, part: Sequence[QueuedMessage]) -> int:
        with aws.translated("sending to the queue", remedy="allow the function's role sqs:SendMessage"):
            answer = self._client.send_message_batch(
                QueueUrl=self.url,
                Entries=[
                    {
                        "Id": str(number),
                        "MessageBody": envelope.message.body(),
                        "MessageGroupId": envelope.group,
                        "MessageDeduplicationId": envelope.deduplication_id,
                    }
                    for number, envelope in enumerate(part)
                ],
            )
        return len(answer.get("Failed", ()))
