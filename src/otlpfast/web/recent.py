"""The last batches that went by, as bytes, and what can be read of them once somebody looks.

Threads that export put copies here and do nothing else; spans are decoded by the server's threads.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

from .._tree import in_order
from ..batch import SpanBatch
from .decode import Glimpse, details, glimpses, kind_name

MAX_BYTES = 2 * 1024 * 1024
MAX_TRACES = 200
MAX_OPERATIONS = 100
_MAX_SPANS_OF_A_TRACE = 1000
_MAX_BATCHES = 4096  # of a generation: small ones cost more than their bytes


class _Generation:
    """Half of what is kept: batches in the order in which they came, and what was read of them."""

    __slots__ = ("batches", "glimpses", "nbytes", "read")

    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.nbytes = 0
        self.glimpses: list[Glimpse] = []
        self.read = 0  # batches


class Recent:
    """Recent spans, of at most 2 MiB, by traces and by operations.

    ``take()`` needs no lock, so that a signal handler that ends spans may interrupt it: where two are in it
    at once, a little more or less is kept. What is old goes by half of all at a time.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._old, self._young = _Generation(), _Generation()
        self._lock = threading.Lock()  # of those who read
        self.version = 0
        """Another one whenever there is something new."""

    def take(self, batch: SpanBatch) -> None:
        """Keeps a copy of a batch, of a large one only the end."""
        if self._pid != os.getpid():
            return
        while batch.nbytes > MAX_BYTES // 2:
            if batch.count < 2:
                return
            batch = batch.split()[1]
        data = bytes(batch)
        young = self._young
        young.batches.append(data)
        young.nbytes += len(data)
        if young.nbytes > MAX_BYTES // 2 or len(young.batches) > _MAX_BATCHES:
            self._old, self._young = young, _Generation()
        self.version += 1

    def _glimpses(self) -> list[Glimpse]:
        """Of all spans that are kept, the oldest first, each once: two exporters get the same spans."""
        with self._lock:
            generations = self._old, self._young
            for generation in generations:
                _read(generation)
            found = chain.from_iterable(generation.glimpses for generation in generations)
            return list({(g.trace_id, g.span_id): g for g in found}.values())

    def traces(self, limit: int = MAX_TRACES) -> dict[str, Any]:
        """The traces that got spans last, for JSON, the newest first."""
        spans = self._glimpses()
        by_trace: dict[bytes, list[Glimpse]] = {}
        for glimpse in reversed(spans):
            by_trace.setdefault(glimpse.trace_id, []).append(glimpse)
        shown = [_summary(trace) for trace in islice(by_trace.values(), limit)]
        return {"traces": shown, "spans": len(spans)}

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        """A trace with all that its spans hold, in order; None where nothing of it is kept."""
        spans = [glimpse for glimpse in self._glimpses() if glimpse.trace_id.hex() == trace_id]
        if not spans:
            return None
        summary = _summary(spans)
        begun = min(span.start for span in spans)
        ordered = list(in_order(spans))[:_MAX_SPANS_OF_A_TRACE]
        return {
            **summary,
            "shown": len(ordered),
            "items": [_item(span, depth, begun) for span, depth in ordered],
        }

    def operations(self) -> dict[str, Any]:
        """How spans of each name have fared, the slowest first."""
        spans = self._glimpses()
        by_name: dict[str, list[Glimpse]] = {}
        for span in spans:
            by_name.setdefault(span.name, []).append(span)
        rows = [_operation(name, group) for name, group in by_name.items()]
        rows = sorted(rows, key=lambda row: row["p99_ms"], reverse=True)[:MAX_OPERATIONS]
        return {"operations": rows, "names": len(by_name), "spans": len(spans)}


def _read(generation: _Generation) -> None:
    batches = generation.batches
    while generation.read < len(batches):
        data = batches[generation.read]
        generation.read += 1
        try:
            generation.glimpses.extend(glimpses(data))
        except (ValueError, IndexError, struct.error):
            continue  # an exporter of somebody's has changed it


def _milliseconds(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 6)


def _summary(spans: list[Glimpse]) -> dict[str, Any]:
    ids = {span.span_id for span in spans}
    # The root; where it is another process's, or has not ended, the first of what is here.
    first = min(spans, key=lambda span: (span.parent_id != 0, span.parent_id in ids, span.start))
    begun = min(span.start for span in spans)
    return {
        "trace_id": first.trace_id.hex(),
        "name": first.name,
        "service": first.origin.service,
        "kind": kind_name(first.kind),
        "has_root": not first.parent_id,
        "start_unix_ms": _milliseconds(begun),
        "duration_ms": _milliseconds(max(span.end for span in spans) - begun),
        "spans": len(spans),
        "errors": sum(span.failed for span in spans),
    }


def _item(span: Glimpse, depth: int, begun: int) -> dict[str, Any]:
    return {
        "span_id": f"{span.span_id:016x}",
        "parent_id": f"{span.parent_id:016x}" if span.parent_id else "",
        "name": span.name,
        "service": span.origin.service,
        "kind": kind_name(span.kind),
        "depth": depth,
        "offset_ms": _milliseconds(span.start - begun),
        "duration_ms": _milliseconds(max(span.end - span.start, 0)),
        "failed": span.failed,
        **details(span),
    }


def _operation(name: str, spans: list[Glimpse]) -> dict[str, Any]:
    durations = sorted(max(span.end - span.start, 0) for span in spans)
    return {
        "name": name,
        "count": len(spans),
        "errors": sum(span.failed for span in spans),
        "p50_ms": _milliseconds(quantile(durations, 0.5)),
        "p99_ms": _milliseconds(quantile(durations, 0.99)),
        "max_ms": _milliseconds(durations[-1]),
    }


def quantile(ordered: Sequence[Any], share: float) -> Any:
    """The value below or at which so large a share of some ordered ones is; 0 where there are none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0
