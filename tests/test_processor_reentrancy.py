"""Spans that end, and flushes, in the middle of another span's end: nothing hangs, is lost or comes twice."""

from __future__ import annotations

import gc
import logging
import signal
from collections import Counter
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from otlpfast import BatchSpanProcessor, OTLPSpanExporter, SimpleSpanProcessor

from .collector import Collector
from .exporting import collector_fixture  # noqa: F401
from .pipeline import NEVER_MILLIS, account, end_spans, names, ran
from .spans import hand_made, provider


class Onlooker(SpanProcessor):
    """Changes nothing, but who is to know? With it, spans are kept and encoded by the export thread."""


def pipeline(endpoint: str, late: bool, **settings: Any) -> tuple[Any, BatchSpanProcessor]:
    settings = {"schedule_delay_millis": NEVER_MILLIS, "max_queue_size": 1_000_000, **settings}
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint), **settings)
    return provider(processor, *[Onlooker()] * late).get_tracer("tests"), processor


def check(collector: Collector, value: dict[str, Any], ended: int) -> None:
    """All that ended arrived once, and the account says so."""
    assert value["stats"] == account(ended, exported=ended)
    received = Counter(names(collector.spans))
    assert set(received.values()) == {1}
    assert len(received) == ended


# --- signals


def interrupted(endpoint: str, late: bool, wanted: int) -> dict[str, Any]:
    """A signal handler that ends spans and flushes, while the main thread does the same."""
    tracer, processor = pipeline(endpoint, late, max_export_batch_size=20)
    handled, depth, flushes = [0], [0], []

    def handle(*_: Any) -> None:
        handled[0] += 1
        depth[0] += 1  # handlers interrupt handlers
        end_spans(tracer, 2, f"handler {handled[0]}")
        if handled[0] % 16 == 0 and depth[0] < 4:
            flushes.append(processor.force_flush())
        depth[0] -= 1

    # Until the export thread runs, a flush exports in its caller's thread, and one inside that can't be True.
    end_spans(tracer, 20, "first")
    flushes.append(processor.force_flush())
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    turn = 0
    while handled[0] < wanted:
        end_spans(tracer, 10, f"main {turn}")
        turn += 1
        if turn % 16 == 0:
            flushes.append(processor.force_flush())
    signal.setitimer(signal.ITIMER_REAL, 0)
    flushes.append(processor.force_flush())
    return {"flushes": flushes, "ended": 20 + 2 * handled[0] + 10 * turn, "stats": processor.stats()}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.parametrize("late", [False, True])
def test_a_signal_handler_that_ends_spans_and_flushes(collector: Collector, late: bool) -> None:
    value = ran(interrupted, collector.endpoint, late, 3000)
    assert set(value["flushes"]) == {True}
    check(collector, value, value["ended"])


def interrupted_simple(endpoint: str, wanted: int) -> dict[str, Any]:
    processor = SimpleSpanProcessor(OTLPSpanExporter(endpoint))
    tracer = provider(processor).get_tracer("tests")
    handled, armed, turn = [0], 0, 0

    def handle(*_: Any) -> None:
        handled[0] += 1
        end_spans(tracer, 1, f"handler {handled[0]}")

    signal.signal(signal.SIGALRM, handle)
    while handled[0] < wanted:
        if armed == handled[0]:  # one at a time: where an export takes long, handlers would pile up
            armed += 1
            signal.setitimer(signal.ITIMER_REAL, 0.0001 + turn % 50 * 0.0001)
        end_spans(tracer, 1, f"main {turn}")
        turn += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    processor.shutdown()
    return {"ended": handled[0] + turn, "stats": processor.stats()}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_a_signal_handler_in_the_middle_of_a_simple_export(collector: Collector) -> None:
    value = ran(interrupted_simple, collector.endpoint, 100)
    check(collector, value, value["ended"])


# --- finalisers


class Ends:
    """Ends a span when it is collected, and with every hundredth flushes."""

    count = 0

    def __init__(self, tracer: Any, processor: BatchSpanProcessor) -> None:
        self.tracer, self.processor = tracer, processor
        self.cycle = self

    def __del__(self) -> None:
        Ends.count += 1
        end_spans(self.tracer, 1, f"finaliser {Ends.count}")
        if Ends.count % 100 == 0:
            self.processor.force_flush()


def collected(endpoint: str, late: bool) -> dict[str, Any]:
    """The garbage collector runs as often as it can: in every allocation of a container, wherever that is."""
    tracer, processor = pipeline(endpoint, late, max_export_batch_size=10)
    gc.set_threshold(1)
    for turn in range(400):
        Ends(tracer, processor)
        with tracer.start_as_current_span(f"main {turn}", attributes={"list": [1, {"a": [turn]}]}) as span:
            span.add_event("event", {"key": turn})
    gc.set_threshold(0)
    gc.collect()
    flushed = processor.force_flush()
    return {"flushed": flushed, "finalised": Ends.count, "stats": processor.stats()}


@pytest.mark.parametrize("late", [False, True])
def test_finalisers_that_end_spans_and_flush(collector: Collector, late: bool) -> None:
    value = ran(collected, collector.endpoint, late)
    assert value["flushed"] is True
    assert value["finalised"] == 400
    check(collector, value, 800)


# --- values


class Chatty:
    """Turned to text when it is encoded; that ends spans, and flushes."""

    def __init__(self, tracer: Any, processor: BatchSpanProcessor) -> None:
        self.tracer, self.processor = tracer, processor
        self.said: list[bool] = []

    def __str__(self) -> str:
        if len(self.said) < 20:
            number = len(self.said)
            self.said.append(False)
            end_spans(self.tracer, 3, f"from str {number}")
            self.said[number] = self.processor.force_flush()
        return "chatty"


def talking(endpoint: str, late: bool) -> dict[str, Any]:
    """A span made by hand, whose attribute is turned to text only when it is encoded."""
    tracer, processor = pipeline(endpoint, late, max_export_batch_size=4)
    chatty = Chatty(tracer, processor)
    for number in range(10):
        end_spans(tracer, 1, f"before {number}")
        span = hand_made(name=f"chatty {number}")
        span._attributes = {"key": chatty}  # type: ignore[dict-item]
        tracer.span_processor.on_end(span)
        end_spans(tracer, 1, f"after {number}")
    flushes = [processor.force_flush(), processor.force_flush()]  # the first may make it talk once more
    return {"flushes": flushes, "said": len(chatty.said), "stats": processor.stats()}


@pytest.mark.parametrize("late", [False, True])
def test_a_str_that_ends_spans_and_flushes(collector: Collector, late: bool) -> None:
    value = ran(talking, collector.endpoint, late)
    assert value["flushes"] == [True, True]
    assert value["said"] >= 10
    check(collector, value, 30 + 3 * value["said"])


# --- log handlers


class Ending(logging.Handler):
    """Ends a span for each record."""

    def __init__(self, tracer: Any) -> None:
        super().__init__()
        self.tracer = tracer
        self.records = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        end_spans(self.tracer, 1, f"log {self.records}")


def logging_drops(endpoint: str, late: bool) -> dict[str, Any]:
    tracer, processor = pipeline(
        endpoint, late, max_queue_size=5, max_export_batch_size=5, max_queue_bytes=900
    )
    handler = Ending(tracer)
    logger = logging.getLogger("otlpfast")
    logger.addHandler(handler)
    logger.propagate = False
    for _ in range(100):
        end_spans(tracer, 10)
        tracer.start_span("too large", attributes={"text": "x" * 1000}).end()
    processor.shutdown()
    end_spans(tracer, 10)
    return {"records": handler.records, "stats": processor.stats()}


@pytest.mark.parametrize("late", [False, True])
def test_a_log_handler_that_ends_spans(collector: Collector, late: bool) -> None:
    value = ran(logging_drops, collector.endpoint, late)
    stats = value["stats"]
    assert value["records"] == 2  # of drops, and of a span after shutdown
    assert stats["ended"] == 100 * 11 + 10 + value["records"]
    assert stats == account(stats["ended"], exported=stats["exported"], **stats["dropped"])
    assert stats["dropped"]["shutdown"] == 11
    assert len(collector.spans) == stats["exported"]


def recursive(endpoint: str) -> dict[str, Any]:
    """A processor after ours that ends another span in on_end, a few times over."""

    class Nesting(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            if len(span.name) < 40:
                tracer.start_span(span.name + "+").end()

    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint), schedule_delay_millis=NEVER_MILLIS)
    tracer = provider(processor, Nesting()).get_tracer("tests")
    end_spans(tracer, 3)
    flushed = processor.force_flush()
    return {"flushed": flushed, "stats": processor.stats()}


def test_a_processor_that_ends_spans_in_on_end(collector: Collector) -> None:
    value = ran(recursive, collector.endpoint)
    assert value["flushed"] is True
    check(collector, value, 3 * (40 - len("span 0") + 1))
