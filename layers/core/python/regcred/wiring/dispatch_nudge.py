"""The nudge: an event on Regcred's EventBridge bus that starts dispatch at once.

It gives no rights: dispatch reads all requests from Vault.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

BUS = "REGCRED_EVENT_BUS"
"""The environment variable with the name of the bus. If it is not set, dispatch runs at its next interval."""


def nudge(project: str) -> bool:
    """Ask dispatch to check a project now. This uses the AWS credentials of the environment.

    Args:
        project: The project's name.

    Returns:
        Whether AWS accepted the event. If not, or if no bus is set, the request only waits longer.
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
