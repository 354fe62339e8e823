"""Spans and tracers to measure with, the stock SDK's and otlpfast's."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind

from otlpfast.cli.bench.tracers import BATCH, LARGE, NullExporter, Traced, provider, traced

__all__ = ["BATCH", "LARGE", "Keep", "NullExporter", "Traced", "provider", "stock_spans", "traced"]

ATTRIBUTES: dict[str, Any] = {
    "http.request.method": "GET",
    "http.route": "/items/{number}",
    "http.response.status_code": 200,
    "app.cache.hit": True,
    "app.seconds": 0.25,
    "url.path": "/items/17",
    "url.scheme": "https",
    "server.address": "shop.example.com",
    "server.port": 443,
    "network.peer.address": "192.0.2.17",
}


def some_attributes(count: int) -> dict[str, Any]:
    """So many attributes of the usual types, with the usual names first."""
    names, values = list(ATTRIBUTES), list(ATTRIBUTES.values())
    return {
        names[number] if number < len(names) else f"app.attribute.{number}": values[number % len(values)]
        for number in range(count)
    }


class Keep(SpanProcessor):
    """Keeps what a provider gives its processors."""

    def __init__(self) -> None:
        self.started: list[Span] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.started.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def plain_spans(attributes: int, count: int = BATCH) -> list[ReadableSpan]:
    """Ended spans of the SDK with so many attributes and no event."""
    keep = Keep()
    tracer = provider(keep).get_tracer("bench.tracer", "1.0")
    for _ in range(count):
        tracer.start_span("GET /items/{number}", attributes=some_attributes(attributes)).end()
    return keep.ended


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
