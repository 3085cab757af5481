"""The entry point of the console: a Lambda function behind a function URL, or a server in a Pod."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from regcred import tracing
from regcred.wiring.console import deployed

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mangum import Mangum


@cache
def _adapter() -> Mangum:
    from mangum import Mangum  # noqa: PLC0415 - the image of the Pod lacks mangum

    return Mangum(deployed.on_lambda(), lifespan="off")


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request."""
    answer: dict[str, Any] = _adapter()(event, context)  # type: ignore[arg-type]
    tracing.flush()  # Lambda freezes the process
    return answer


if __name__ == "__main__":
    sys.exit(deployed.serve())
