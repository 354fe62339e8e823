"""Memory: what a waiting span costs, and that nothing is left behind when it is gone."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from array import array
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, TraceFlags, TraceState

from otlpfast import IMPLEMENTATION, BatchSpanProcessor, ExportOutcome, SpanBatch, encode_spans

from .pipeline import NEVER_MILLIS, SANITIZED, Encoded, account, ran
from .spans import hand_made, provider, stock_spans

compiled = pytest.mark.skipif(IMPLEMENTATION != "c", reason="a property of the compiled core")
measures = pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is not ours")


class Counting(Encoded):
    """Takes batches and keeps nothing of them."""

    def export_batch(self, batch: SpanBatch, timeout: float | None = None) -> ExportOutcome:
        assert batch.nbytes > 0
        return ExportOutcome(exported=batch.count)


def holding(spans: list[ReadableSpan], times: int) -> BatchSpanProcessor:
    """A processor with the spans, so many times each, in its queue, encoded."""
    processor = BatchSpanProcessor(
        Counting(), 10_000_000, NEVER_MILLIS, 10_000_000, max_queue_bytes=sys.maxsize
    )
    provider(processor).get_tracer("tests").start_span("tells it that it is the last one").end()
    processor.force_flush()
    for _ in range(times):
        for span in spans:
            processor.on_end(span)
    return processor


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


class _MallocInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def allocated() -> int:
    """Bytes that were asked of malloc and not given back; where it does not tell, the resident memory.

    Unlike that, it is not moved by pages that come and go. Python's own small objects are not in it:
    ``sys.getallocatedblocks()`` counts these.
    """
    gc.collect()
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return resident()
    mallinfo.restype = _MallocInfo
    told = mallinfo()
    return int(told.uordblks + told.hblkhd)


def cost_of_waiting(count: int, attributes: int) -> float:
    """Bytes of memory for each byte of encoded spans that wait."""
    spans = stock_spans(500, attributes)
    holding(spans, 1).shutdown()
    before = resident()
    processor = holding(spans, count // len(spans))
    cost = (resident() - before) / processor._queue.nbytes
    assert processor.stats()["queued"] == count
    processor.shutdown()
    return cost


@compiled
@measures
@pytest.mark.parametrize(("count", "attributes"), [(200_000, 10), (400_000, 0), (20_000, 100)])
def test_a_waiting_span_costs_its_encoded_size_and_a_tenth(count: int, attributes: int) -> None:
    assert ran(cost_of_waiting, count, attributes) <= 1.10


@compiled
def test_a_waiting_span_is_no_object() -> None:
    spans = stock_spans(1000)
    processor = holding(spans, 1)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(9):
        for span in spans:
            processor.on_end(span)
    assert processor.stats()["queued"] == 10_000
    # A few for each batch, of which there is one.
    assert len(gc.get_objects()) - before < 100
    processor.shutdown()


# --- leaks


def every_kind_of_span() -> list[ReadableSpan]:
    """Also such as the encoder can't read as they are."""
    context = SpanContext(1, 2, True, TraceFlags(1), TraceState([("a", "b")]))
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    values = {
        "text": "\ud800",
        "number": 2**70,
        "bytes": b"\0" * 100,
        "none": None,
        "map": {"a": [1, {"b": (True, 1.5, None)}]},
        "cyclic": cyclic,
        "array": array("d", range(20)),
        "numpy": np.arange(20),
        "scalar": np.float32(1.5),
        "object": object(),
    }
    return [
        *stock_spans(20),
        hand_made(attributes=values, events=[Event("event", values, 5)], links=[Link(context, values)]),
        hand_made(name=3, start_time=-1, end_time=1.5, kind=7, context=context),
    ]


def grown(late: bool, count: int) -> float:
    """By how many bytes a span the memory grew while the second half of so many went through a processor."""
    processor = BatchSpanProcessor(Counting(), schedule_delay_millis=NEVER_MILLIS)
    traced = provider(processor, *[SpanProcessor()] * late)
    traced.get_tracer("tests").start_span("tells it who comes after it").end()
    spans = every_kind_of_span()

    def through(rounds: int) -> None:
        for turn in range(rounds):
            for span in spans:
                processor.on_end(span)
            if turn % 20 == 0:
                assert processor.force_flush()
                encode_spans(spans)

    rounds = count // len(spans) // 2 + 1
    through(rounds)
    before = allocated()
    through(rounds)
    growth = (allocated() - before) / (rounds * len(spans))
    assert processor.force_flush()
    stats = processor.stats()
    assert stats == account(stats["ended"], exported=stats["ended"])
    assert stats["ended"] > count
    return growth


@measures
@pytest.mark.parametrize("late", [False, True])
def test_100_000_spans_leave_nothing_behind(late: bool) -> None:
    # What is forgotten takes 16 bytes a span at the very least.
    assert ran(grown, late, 100_000 if IMPLEMENTATION == "c" else 50_000, patience=100) < 6


@pytest.mark.parametrize("late", [False, True])
def test_no_reference_is_left_behind(late: bool) -> None:
    processor = BatchSpanProcessor(Counting(), schedule_delay_millis=NEVER_MILLIS)
    traced = provider(processor, *[SpanProcessor()] * late)
    traced.get_tracer("tests").start_span("tells it who comes after it").end()
    spans = every_kind_of_span()
    resource, scope = Resource({"key": "value"}), InstrumentationScope("scope", "1")
    spans.append(hand_made(resource=resource, instrumentation_scope=scope))
    watched: list[Any] = [resource, scope, *spans]
    for span in spans:
        watched += [
            span._attributes,
            span._context,
            span._resource,
            span._instrumentation_scope,
            span._status,
        ]
        watched += [*(span._attributes or {}).keys(), *(span._attributes or {}).values()]
        watched += [*span._events, *span._links]
        for event in span._events:
            watched += [event._attributes, *(event.attributes or {}).values()]
    # Everybody uses None and small numbers.
    watched = [each for each in watched if each is not None and (type(each) is not int or each > 256)]
    assert len(watched) > 500

    def through() -> None:
        for span in spans:
            processor.on_end(span)
        assert processor.force_flush()
        encode_spans(spans)
        gc.collect()

    through()  # a resource and a scope that were seen once are remembered
    through()
    before = [sys.getrefcount(each) for each in watched]
    for _ in range(10):
        through()
    after = [sys.getrefcount(each) for each in watched]
    # A word has other owners that come and go; one reference a round is a leak.
    pairs = zip(watched, before, after, strict=True)
    assert [(each, was, now) for each, was, now in pairs if abs(now - was) >= 10] == []
    processor.shutdown()


def test_a_processor_that_was_shut_down_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    for _ in range(20):
        processor = BatchSpanProcessor(Counting(), schedule_delay_millis=NEVER_MILLIS)
        processor.on_end(hand_made())
        processor.shutdown()
        assert processor.stats() == account(1, exported=1)
    assert set(threading.enumerate()) <= before
