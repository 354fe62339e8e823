"""What the instrumented core of an OTLPFAST_PGO=1 build is run with: what services do, and how often.

    python bench/training.py

setup.py runs it by its path, before anything is installed: it imports otlpfast and the SDK and nothing else,
sends nothing anywhere and takes about a second. What matters is which branches are taken and how often, not
what anything costs: a branch that is not taken here is laid out as a rare one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import TracerProvider as SDKTracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

import otlpfast

ROUNDS = 400
RESOURCE = Resource({"service.name": "training", "service.version": "1.0"})
ELSEWHERE = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True, TraceFlags(1))


class Bytes(SpanExporter):
    """Puts encoded batches together, as for a request, and forgets them."""

    def export_batch(self, batch: otlpfast.SpanBatch, timeout: float | None = None) -> otlpfast.ExportOutcome:
        b"".join(batch.buffers)
        return otlpfast.ExportOutcome(exported=batch.count)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Keep(SpanProcessor):
    """Keeps what has ended."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def request(tracer: Any, number: int) -> None:
    """A request: its server span, two clients below, an event, now and then an error."""
    with tracer.start_as_current_span("GET /items/{number}", kind=SpanKind.SERVER) as span:
        span.set_attribute("http.request.method", "GET")
        span.set_attribute("http.route", "/items/{number}")
        span.set_attribute("url.path", f"/items/{number}")
        span.set_attribute("server.port", 443)
        span.set_attribute("app.cache.hit", number % 2 == 0)
        span.set_attribute("app.seconds", number / 8)
        with tracer.start_as_current_span("SELECT items", kind=SpanKind.CLIENT) as below:
            below.set_attributes({"db.system.name": "sqlite", "db.query.text": "SELECT ?", "db.rows": number})
        below = tracer.start_span("GET", kind=SpanKind.CLIENT, attributes={"url.full": "http://shop/ä"})
        below.add_event("loaded", {"app.rows": number, "app.table": "items"})
        below.end()
        trace.get_current_span().get_span_context()
        if number % 16 == 0:
            span.set_attribute("app.tags", ["a", "b", "c"])
            span.set_attribute("app.sizes", (1, 2, 3))
            span.add_link(ELSEWHERE, {"app.reason": "retry"})
            span.update_name(f"GET /items/{number}")
        if number % 32 == 0:
            span.set_status(Status(StatusCode.ERROR, "no such item"))
        span.set_attribute("http.response.status_code", 200)


def failing(tracer: Any) -> None:
    try:
        with tracer.start_as_current_span("fails"):
            raise LookupError("no such item")
    except LookupError:
        pass


def small(tracer: Any, number: int) -> None:
    """The spans of a loop: few words about each."""
    for _ in range(4):
        tracer.start_span("step").end()
        with tracer.start_as_current_span("step"):
            pass
    tracer.start_span("step", links=[Link(ELSEWHERE)], attributes={"app.number": number}).end()


def elsewhere(tracer: Any) -> None:
    """A span whose parent came with the request."""
    came = trace.set_span_in_context(NonRecordingSpan(ELSEWHERE))
    with tracer.start_as_current_span("consume", context=came, kind=SpanKind.CONSUMER):
        context.detach(context.attach(came))


def native() -> None:
    samplers = (ALWAYS_ON, ALWAYS_ON, ParentBased(TraceIdRatioBased(0.5)), ALWAYS_OFF)
    for sampler in samplers:
        provider = otlpfast.TracerProvider(sampler=sampler, resource=RESOURCE, shutdown_on_exit=False)
        processor = otlpfast.BatchSpanProcessor(Bytes())
        provider.add_span_processor(processor)
        tracers = [provider.get_tracer(name, "1.0") for name in ("web", "database")]
        for number in range(ROUNDS):
            tracer = tracers[number % 2]
            request(tracer, number)
            small(tracer, number)
            elsewhere(tracer)
            if number % 20 == 0:
                failing(tracer)
                processor.force_flush()
        provider.shutdown()


def stock() -> None:
    """otlpfast's processor below the SDK's provider, and its encoder by itself."""
    provider, keep = SDKTracerProvider(resource=RESOURCE, shutdown_on_exit=False), Keep()
    provider.add_span_processor(keep)
    provider.add_span_processor(otlpfast.BatchSpanProcessor(Bytes()))
    tracer = provider.get_tracer("stock", "1.0")
    for number in range(ROUNDS // 2):
        request(tracer, number)
    failing(tracer)
    provider.shutdown()
    for _ in range(4):
        otlpfast.encode_spans(keep.ended)


def main() -> None:
    if otlpfast.IMPLEMENTATION != "c":
        sys.exit("there is no compiled core to train")
    native()
    stock()


if __name__ == "__main__":
    main()
