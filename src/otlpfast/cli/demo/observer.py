"""Looks at the spans of a service that is not measured: a look costs, and on a native provider most."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind


class Observer(SpanProcessor):
    """Keeps the first few spans, and counts all, request by request. For one connection: it takes no lock.

    ``by_request``: how many spans had ended when the first, the second, ... request had; that of a request
    itself, its server span, ends last.
    """

    def __init__(self, keep: int) -> None:
        self.spans: list[ReadableSpan] = []
        self.by_request: list[int] = []
        self._keep = keep
        self._ended = 0

    def on_end(self, span: ReadableSpan) -> None:
        self._ended += 1
        if len(self.spans) < self._keep:
            self.spans.append(span)
        if span.kind is SpanKind.SERVER:
            self.by_request.append(self._ended)
