"""What a span costs the thread that ends it, and what it costs until its bytes are ready to be sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as official_encode
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor as SDKBatchSpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor as SDKSimpleSpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otlpfast import BatchSpanProcessor, ExportOutcome, SimpleSpanProcessor, SpanBatch

from .conftest import Measure
from .spans import BATCH, LARGE, NullExporter, provider, stock_spans, traced


class OfficialBytes(SpanExporter):
    """Encodes as the official exporter does, and sends nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        official_encode(spans).SerializeToString()
        return SpanExportResult.SUCCESS


class OurBytes(SpanExporter):
    """Puts encoded batches together as otlpfast's exporter does, and sends nothing."""

    def export_batch(self, batch: SpanBatch, timeout: float | None = None) -> ExportOutcome:
        batch.buffers  # noqa: B018
        return ExportOutcome(exported=batch.count)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise NotImplementedError("takes encoded batches")


Make = Callable[[], Any]


@pytest.fixture(scope="module")
def spans() -> list[ReadableSpan]:
    return stock_spans()


def sdk() -> SDKBatchSpanProcessor:
    return SDKBatchSpanProcessor(OfficialBytes(), **LARGE)


def early() -> BatchSpanProcessor:
    """Encodes in on_end: it is the last of its provider's processors."""
    processor = BatchSpanProcessor(OurBytes(), **LARGE)
    provider(processor).get_tracer("bench").start_span("first")
    return processor


def late() -> BatchSpanProcessor:
    """Keeps the spans, for another processor that comes after it might change them."""
    processor = BatchSpanProcessor(OurBytes(), **LARGE)
    provider(processor, SpanProcessor()).get_tracer("bench").start_span("first")
    return processor


@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("timing", ["early", "late"])
@pytest.mark.parametrize("side", ["SDK", "otlpfast"])
def test_on_end(measure: Measure, spans: list[ReadableSpan], side: str, timing: str) -> None:
    make: Make = sdk if side == "SDK" else {"early": early, "late": late}[timing]

    def work(processor: Any) -> None:
        on_end = processor.on_end
        for span in spans:
            on_end(span)

    operation = f"on_end, encoded {timing} (the SDK: never here)"
    measure(operation, side, work, BATCH, at_most=2e-6, setup=lambda: ((make(),), {}), teardown=shut)


@pytest.mark.benchmark(timer=time.process_time)  # both threads
@pytest.mark.parametrize("timing", ["early", "late"])
@pytest.mark.parametrize("side", ["SDK", "otlpfast"])
def test_to_bytes(measure: Measure, spans: list[ReadableSpan], side: str, timing: str) -> None:
    make: Make = sdk if side == "SDK" else {"early": early, "late": late}[timing]

    def work(processor: Any) -> None:
        on_end = processor.on_end
        for span in spans:
            on_end(span)
        assert processor.force_flush()

    operation = f"on_end and force_flush, to bytes, {timing}"
    measure(operation, side, work, BATCH, setup=lambda: ((make(),), {}), teardown=shut, rounds=30)


def shut(processor: Any) -> None:
    processor.shutdown()


@pytest.mark.benchmark(timer=time.process_time)  # both threads
@pytest.mark.parametrize("side", ["SDK", "otlpfast"])
def test_drain(measure: Measure, spans: list[ReadableSpan], side: str) -> None:
    make: Any = BatchSpanProcessor if side == "otlpfast" else SDKBatchSpanProcessor

    def filled() -> Any:
        processor = make(NullExporter(), **LARGE)
        provider(processor).get_tracer("bench").start_span("first")
        for span in spans:
            processor.on_end(span)
        return (processor,), {}

    def work(processor: Any) -> None:
        assert processor.force_flush()

    operation = "queue to an exporter that does nothing, 512 spans"
    measure(operation, side, work, BATCH, setup=filled, teardown=shut, rounds=30)


def ten_attributes(tracer: Any) -> None:
    span = tracer.start_span("benchmarkedSpan")
    for number in range(10):
        span.set_attribute(f"benchmarkAttribute_{number}", f"benchmarkAttrValue_{number}")
    span.end()


@pytest.mark.benchmark(timer=time.process_time)  # both threads
@pytest.mark.parametrize("side", ["SDK", "otlpfast"])
def test_simple_span_processor(measure: Measure, side: str) -> None:
    make: Any = SimpleSpanProcessor if side == "otlpfast" else SDKSimpleSpanProcessor
    exporter = OurBytes() if side == "otlpfast" else OfficialBytes()
    tracer = provider(make(exporter), side=side).get_tracer("bench")
    measure("span of 10 attributes to bytes, simple processor", side, lambda: ten_attributes(tracer))


@pytest.mark.benchmark(timer=time.process_time)  # both threads
@pytest.mark.parametrize("side", ["SDK", "otlpfast"])
def test_batch_span_processor(measure: Measure, side: str) -> None:
    of = traced(side, OurBytes() if side == "otlpfast" else OfficialBytes())

    def work() -> None:
        for _ in range(BATCH):
            ten_attributes(of.tracer)
        of.drain()

    measure("span of 10 attributes to bytes, batch processor", side, work, BATCH)
