"""Spans of the stock SDK to measure with."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind

BATCH = 512


class Keep(SpanProcessor):
    """Keeps what a provider gives its processors."""

    def __init__(self) -> None:
        self.started: list[Span] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.started.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def provider(*processors: SpanProcessor) -> TracerProvider:
    """A TracerProvider of the stock SDK."""
    resource = Resource({"service.name": "bench", "service.version": "1.0"})
    made = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    for processor in processors:
        made.add_span_processor(processor)
    return made


def stock_spans(count: int = BATCH) -> list[ReadableSpan]:
    """Ended spans with 10 attributes of the usual types and 1 event, each the child of the one before."""
    keep = Keep()
    tracer = provider(keep).get_tracer("bench.tracer", "1.0")
    with tracer.start_as_current_span("root"):
        for number in range(count):
            with tracer.start_as_current_span(f"GET /items/{number}", kind=SpanKind.SERVER) as span:
                span.set_attribute("http.request.method", "GET")
                span.set_attribute("http.route", "/items/{number}")
                span.set_attribute("url.path", f"/items/{number}")
                span.set_attribute("url.scheme", "https")
                span.set_attribute("server.address", "shop.example.com")
                span.set_attribute("server.port", 443)
                span.set_attribute("network.peer.address", "192.0.2.17")
                span.set_attribute("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)")
                span.set_attribute("http.response.status_code", 200)
                span.set_attribute("app.cache.hit", number % 2 == 0)
                span.add_event("loaded", {"app.rows": number, "app.table": "items"})
    return keep.ended[:count]
