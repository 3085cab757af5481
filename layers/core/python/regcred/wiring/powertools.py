"""Logger and metrics of the Lambda functions.

Log lines are JSON without secrets. Metrics have no dimension per registry.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from functools import partial

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics import Metrics

from regcred import __version__
from regcred.log import LINE_MAX, cut, guard, redact

NAMESPACE = "Regcred"
"""The CloudWatch namespace of all metrics."""


class _Formatter(LambdaPowertoolsFormatter):
    """Redacts and shortens lines. It writes only ASCII, because people read logs in terminals."""

    def __init__(self) -> None:
        super().__init__(json_serializer=partial(json.dumps, default=str, separators=(",", ":")))

    def format(self, record: logging.LogRecord) -> str:
        return redact(cut(super().format(record), LINE_MAX))


def logger(service: str) -> Logger:
    """Create the function's logger. Regcred's modules log through it too. Logs of libraries are redacted.

    Args:
        service: The function's name. The level is POWERTOOLS_LOG_LEVEL, or INFO.
    """
    made = Logger(
        service=service,
        logger_formatter=_Formatter(),
        log_uncaught_exceptions=False,
        stream=sys.stdout,
        version=__version__,
    )
    package = logging.getLogger("regcred")
    package.handlers = list(made.handlers)
    package.setLevel(made.log_level)
    package.propagate = False
    guard(logging.getLogger())
    return made


def metrics(service: str) -> Metrics:
    """The function's metrics, written as one log line per invocation (embedded metric format).

    Their only dimension is the name of the deployed function. It differs between several installations in one
    account, so the metrics of one never hide an alarm of another.
    """
    return Metrics(namespace=NAMESPACE, service=os.environ.get("AWS_LAMBDA_FUNCTION_NAME", service))
