"""Sends spans by OpenTelemetry over OTLP/HTTP.

The environment variables of the OpenTelemetry SDK set the endpoint, the sampler and the rest:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from regcred import __version__
from regcred.errors import RegcredError
from regcred.tracing import Span, valid

FLUSH_SECONDS = 3.0
"""How long a program waits at its end, or at the end of an invocation, for a collector."""


class OtlpTracer:
    """:class:`regcred.tracing.Tracer` over the OpenTelemetry SDK.

    Args:
        service: The name of the program, if OTEL_SERVICE_NAME is not set.
    """

    def __init__(self, service: str) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME") or service
        resource = Resource.create({"service.name": name, "service.version": __version__})
        # At exit, the SDK would wait half a minute for a collector that is away.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("regcred", __version__)

    @contextmanager
    def span(self, name: str, parent: str, attributes: Mapping[str, str]) -> Iterator[Span]:
        """See :class:`Tracer`. Of an error, only its kind is recorded, since its text may quote a vendor."""
        # Neither the text of an exception nor its traceback becomes part of the span.
        with self._tracer.start_as_current_span(
            name, _context(parent), record_exception=False, set_status_on_exception=False
        ) as started:
            span = _OtlpSpan(started)
            span.set(**attributes)
            try:
                yield span
            except BaseException as error:
                kind = error.kind if isinstance(error, RegcredError) else type(error).__name__
                span.set(error_kind=kind)
                raise

    def flush(self) -> None:
        """See :class:`Tracer`."""
        # The SDK does not limit the time: its exporter first retries for as long as one export may take.
        sending = Thread(target=self._provider.force_flush, daemon=True)
        sending.start()
        sending.join(FLUSH_SECONDS)


class _OtlpSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def set(self, **attributes: str) -> None:
        for name, value in attributes.items():
            if value:
                self._span.set_attribute(f"regcred.{name}", value)
        if attributes.get("error_kind"):
            self._span.set_status(Status(StatusCode.ERROR))


def _context(parent: str) -> Context | None:
    """The context of an earlier step; None for the current one."""
    if not valid(parent):
        return None
    _, trace_id, span_id, flags = parent.split("-")
    # Of the flags, only "sampled" has a meaning in version 00.
    sampled = TraceFlags(int(flags, 16) & TraceFlags.SAMPLED)
    return trace.set_span_in_context(
        NonRecordingSpan(
            SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=sampled)
        )
    )
