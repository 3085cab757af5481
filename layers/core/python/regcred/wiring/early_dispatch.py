"""Starts dispatch early, with an event on Regcred's EventBridge bus.

It has no authority; the request in Vault has.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

BUS = "REGCRED_EVENT_BUS"
"""The variable with the name of the bus. Without it, dispatch waits for its next interval."""


def nudge(project: str) -> bool:
    """Ask dispatch to check a project now, as the AWS user of this environment.

    Args:
        project: The project.

    Returns:
        Whether dispatch was notified. False if no bus is set or AWS did not accept the event. Then only the
        wait is longer.
    """
    bus = os.environ.get(BUS, "")
    if not bus:
        return False
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    quick = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
    entry: PutEventsRequestEntryTypeDef = {
        "EventBusName": bus,
        "Source": "regcred.cli",
        "DetailType": "SweepRequested",
        "Detail": json.dumps({"project": project}),
    }
    try:
        answer = boto3.client("events", config=quick).put_events(Entries=[entry])
    except (BotoCoreError, ClientError):
        return False
    return not answer["FailedEntryCount"]
