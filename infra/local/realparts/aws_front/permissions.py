"""Checks the permissions of the caller's own policies."""

from __future__ import annotations

from collections.abc import Mapping

from realparts.aws_policy import allowed

from .answers import access_denied
from .signature import Call


def require(call: Call, action: str, resource: str, context: Mapping[str, str] | None = None) -> None:
    """Check that the caller's policies allow an action on a resource, under these condition keys.

    Raises:
        AwsError: they do not.
    """
    if not allowed(call.caller.policies, action, resource, context):
        raise access_denied(call.caller.arn, f"{action} on resource: {resource}")


def needed(call: Call) -> list[tuple[str, str]]:
    """Return the actions and resources to check for a call, because moto does not check policies."""
    match call.service, call.operation:
        case "sqs", _:
            account, name = call.body.get("QueueUrl", "/*/*").rsplit("/", 2)[1:]
            action = call.operation.removesuffix("Batch")
            return [(f"sqs:{action}", f"arn:aws:sqs:{call.region}:{account}:{name}")]
        case "events", "PutEvents":
            buses = {entry.get("EventBusName", "default").split("/")[-1] for entry in call.body["Entries"]}
            where = f"arn:aws:events:{call.region}:{call.caller.account}:event-bus"
            return [("events:PutEvents", f"{where}/{bus}") for bus in sorted(buses)]
    return [(f"{call.service}:{call.operation}", "*")]
