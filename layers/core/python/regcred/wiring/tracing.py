"""Switches tracing on if the environment names a collector."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from regcred import tracing

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

MISSING = (
    "the environment names a collector for traces, but the OpenTelemetry packages are missing, so nothing is"
    " traced; install regcred[otel] (docs/tracing.md)"
)


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables of OpenTelemetry name a collector and don't switch traces off."""
    is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = environment.get("OTEL_TRACES_EXPORTER", "otlp")
    return not is_off and exporter == "otlp" and any(environment.get(name) for name in ENDPOINTS)


def set_up(service: str, environment: Mapping[str, str]) -> None:
    """Switch tracing on for this process if that is wanted.

    If a package is missing, log an error and continue, because credentials must be renewed in any case.

    Args:
        service: The name of the program.
        environment: The environment variables.
    """
    if not is_wanted(environment):
        return
    try:
        from regcred.adapters.otlp import OtlpTracer
    except ImportError:
        log.error(MISSING)  # noqa: TRY400 - the line says everything
        return
    tracing.use(OtlpTracer(service))
