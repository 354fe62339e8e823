"""The official encoder and otlpfast's on the same spans: do they say the same, and at what cost?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as official_encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

from otlpfast.cli.demo.messages import difference
from otlpfast.cli.demo.pipelines import PROCESSOR, STOCK

_REPEATS = 25


def compare(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """Encodes the spans with both: ``microseconds`` a span, and the first ``difference`` or None."""
    import otlpfast

    def official() -> bytes:
        encoded: bytes = official_encode_spans(spans).SerializeToString()
        return encoded

    def fast() -> bytes:
        return otlpfast.encode_spans(spans)

    expected = as_documented(official_encode_spans(spans), spans)
    seconds = _best_of(official, fast)
    return {
        "spans": len(spans),
        "version": otlpfast.__version__,
        "implementation": otlpfast.IMPLEMENTATION,
        "difference": difference(expected, ExportTraceServiceRequest.FromString(fast())),
        "microseconds": {
            name: best / len(spans) * 1e6
            for name, best in zip((STOCK.name, PROCESSOR.name), seconds, strict=True)
        },
    }


def _best_of(*encoders: Callable[[], bytes]) -> list[float]:
    """The least CPU time of each, by turns so that whatever else this machine does meets them alike."""
    best = [float("inf")] * len(encoders)
    for _ in range(_REPEATS):
        for place, encode in enumerate(encoders):
            start = time.thread_time()
            encode()
            best[place] = min(best[place], time.thread_time() - start)
    return best


def as_documented(
    message: ExportTraceServiceRequest, spans: Sequence[ReadableSpan]
) -> ExportTraceServiceRequest:
    """Adds to the official encoder's message what it leaves out and the specification asks for.

    That is what docs/compatibility.md lists: W3C flags, the trace state of links, dropped counts of scopes.
    """
    by_id = {span.context.span_id.to_bytes(8, "big"): span for span in spans if span.context}
    for resource_spans in message.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for encoded in scope_spans.spans:
                span = by_id[encoded.span_id]
                assert span.context
                encoded.flags |= span.context.trace_flags & 0xFF
                for encoded_link, link in zip(encoded.links, span.links, strict=True):
                    encoded_link.flags |= link.context.trace_flags & 0xFF
                    encoded_link.trace_state = link.context.trace_state.to_header()
            scope = by_id[scope_spans.spans[0].span_id].instrumentation_scope
            scope_spans.scope.dropped_attributes_count = getattr(scope and scope.attributes, "dropped", 0)
    return message
