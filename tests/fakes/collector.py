"""A collector of traces: OTLP over HTTP, parsed with the messages that OpenTelemetry publishes.

It refuses another path or content type. Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp-request.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from regcred import tracing
from regcred.adapters.otlp import OtlpTracer


@dataclass(frozen=True)
class ReceivedSpan:
    name: str
    service: str
    trace: str
    id: str
    parent: str
    """The ID of the parent span; empty for the root."""
    attributes: dict[str, str]
    failed: bool
    events: int


@dataclass
class Collector:
    """The bodies of the requests to ``address``."""

    address: str = ""
    bodies: list[bytes] = field(default_factory=list)

    def spans(self) -> list[ReceivedSpan]:
        return [span for body in self.bodies for span in _spans(body)]

    def named(self, name: str) -> ReceivedSpan:
        """The only span with a name."""
        [found] = [span for span in self.spans() if span.name == name]
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            good = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
            if good:
                collector.bodies.append(body)
            self.send_response(200 if good else 400)
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def switch_off() -> None:
    """Switch tracing off in this process, and end its threads."""
    for tracer in tracing._in_use:
        if isinstance(tracer, OtlpTracer):
            tracer._provider.shutdown()
    tracing.use(None)


def _spans(body: bytes) -> Iterator[ReceivedSpan]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        names = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    span.name,
                    names["service.name"],
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    {one.key: one.value.string_value for one in span.attributes},
                    span.status.code == Status.STATUS_CODE_ERROR,
                    len(span.events),
                )
