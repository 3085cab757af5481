"""Publishes rotate's outcomes on an EventBridge bus."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from regcred.adapters.aws_clients import batches, own_client
from regcred.errors import RegcredError, TransientError
from regcred.registry import aws

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

    from regcred.rotate import Event

SOURCE = "regcred"
"""The ``source`` of our events."""


@dataclass(frozen=True)
class EventBus:
    """:class:`regcred.rotate.Announcer` over EventBridge."""

    name: str

    @cached_property
    def _client(self) -> EventBridgeClient:
        client: EventBridgeClient = own_client("events")
        return client

    def announce(self, events: Sequence[Event]) -> None:
        """See :class:`Announcer`."""
        failed, why = 0, ""
        for part in batches(events):
            try:
                failed += self._put(part)
            except RegcredError as error:  # later parts may succeed
                failed, why = failed + len(part), f": {error}"
        if failed:
            raise TransientError(f"EventBridge did not accept {failed} of {len(events)} events{why}")

    def _put(self, part: Sequence[Event]) -> int:
        with aws.translated("sending events", remedy="allow the function's role events:PutEvents on the bus"):
            answer = self._client.put_events(
                Entries=[
                    {
                        "EventBusName": self.name,
                        "Source": SOURCE,
                        "DetailType": event.announced.value,
                        "Detail": json.dumps(detail(event)),
                        "Resources": [f"regcred:{event.reference}"],
                    }
                    for event in part
                ]
            )
        return answer["FailedEntryCount"]


def detail(event: Event) -> dict[str, Any]:
    """The content of an event: the registry's index entry, which contains no secret."""
    fields = event.entry.model_dump(mode="json", exclude_defaults=True, exclude={"fingerprint"})
    return {"project": event.reference.project, "registry": event.reference.registry} | fields
