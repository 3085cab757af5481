"""Calls that fail on purpose."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from .answers import AwsError, access_denied
from .signature import Call


@dataclass
class Faults:
    """By operation: the `kind` of fault, how many `times` it still applies, and the `seconds` of a delay."""

    by_operation: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def apply(self, call: Call) -> None:
        """Fail or delay a call if its operation has a fault.

        Raises:
            AwsError: the fault is an error.
        """
        fault = self.by_operation.get(call.operation)
        if fault is None or fault["times"] <= 0:
            return
        fault["times"] -= 1
        match fault["kind"]:
            case "throttle":
                raise AwsError("ThrottlingException", "Rate exceeded", query="Throttling")
            case "refuse":
                raise access_denied(call.caller.arn, f"{call.service}:{call.operation}")
            case "error":
                raise AwsError("ServerException", "an internal error", query="InternalFailure", status=500)
            case "delay":
                await asyncio.sleep(float(fault["seconds"]))
