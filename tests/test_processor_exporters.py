"""Any exporter behind our processors, and our exporter behind the stock ones."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, get_value, set_value
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OfficialExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor as StockBatchSpanProcessor
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export import SimpleSpanProcessor as StockSimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otlpfast import BatchSpanProcessor, ExportOutcome, SimpleSpanProcessor, SpanBatch

from .collector import Collector, Reply
from .exporting import Make, collector_fixture, free_port, make_fixture  # noqa: F401
from .pipeline import (
    NEVER_MILLIS,
    Batching,
    Encoded,
    Held,
    account,
    batching_fixture,  # noqa: F401
    end_spans,
)
from .spans import Keep, official, provider

OURS = [lambda e: BatchSpanProcessor(e, schedule_delay_millis=NEVER_MILLIS), SimpleSpanProcessor]
Processor = Callable[[SpanExporter], Any]
both = pytest.mark.parametrize("processor_of", OURS, ids=["batch", "simple"])


class Exporter(SpanExporter):
    """Answers as it is told, and notes what it was given and where."""

    def __init__(self, answer: Callable[[], Any] = lambda: SpanExportResult.SUCCESS) -> None:
        self.answer = answer
        self.spans: list[ReadableSpan] = []
        self.suppressed: list[Any] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        self.suppressed.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
        result: SpanExportResult = self.answer()
        return result


# --- exporters that take spans


@both
def test_an_exporter_in_memory_gets_the_very_spans(processor_of: Processor) -> None:
    exporter, keep = InMemorySpanExporter(), Keep()
    processor = processor_of(exporter)
    tracer = provider(keep, processor).get_tracer("tests")
    with tracer.start_as_current_span("parent", attributes={"list": [1, 2]}) as parent:
        parent.add_event("event", {"key": "value"})
        tracer.start_span("child").end()
    assert processor.force_flush()
    assert [id(span) for span in exporter.get_finished_spans()] == [id(span) for span in keep.spans]
    assert all(type(span) is ReadableSpan for span in keep.spans)
    assert processor.stats() == account(2, exported=2)
    processor.shutdown()
    assert exporter.export([]) is SpanExportResult.FAILURE  # it was shut down too


@both
def test_an_exporter_to_the_console(processor_of: Processor) -> None:
    out = io.StringIO()
    processor = processor_of(ConsoleSpanExporter(out=out))
    end_spans(provider(processor), 1)
    assert processor.force_flush()
    assert json.loads(out.getvalue())["name"] == "span 0"
    processor.shutdown()


@both
def test_the_official_exporter(processor_of: Processor, collector: Collector) -> None:
    keep, processor = Keep(), processor_of(OfficialExporter(collector.endpoint))
    end_spans(provider(processor, keep), 1)
    assert processor.force_flush()
    (span,) = collector.spans
    assert span.span_id == keep.spans[0].context.span_id.to_bytes(8, "big")
    processor.shutdown()


@both
@pytest.mark.parametrize("answer", [SpanExportResult.FAILURE, RuntimeError("boom")], ids=repr)
def test_an_exporter_that_fails(
    processor_of: Processor, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    processor = processor_of(Exporter(fail))
    end_spans(provider(processor), 2)
    processor.force_flush()
    assert processor.stats() == account(2, export_failed=2)
    if isinstance(answer, Exception):
        (warning,) = caplog.records
        assert "Exporter" in warning.getMessage()
        assert "boom" in warning.getMessage()
    processor.shutdown()


@both
def test_what_is_no_exporter(processor_of: Processor) -> None:
    wrongs: list[Any] = [None, "console", InMemorySpanExporter, object()]
    for wrong in wrongs:
        with pytest.raises(TypeError, match="span_exporter="):
            processor_of(wrong)


@both
@pytest.mark.parametrize("hostile", [None, 3], ids=repr)
def test_an_exporter_of_spans_is_given_nothing_else(processor_of: Processor, hostile: Any) -> None:
    exporter = Exporter()
    processor = processor_of(exporter)
    processor.on_end(hostile)
    end_spans(provider(processor), 1)
    processor.force_flush()
    assert [getattr(span, "name", span) for span in exporter.spans] == ["span 0"]
    assert processor.stats() == account(2, exported=1, encode_error=1)
    processor.shutdown()


# --- the key that keeps an exporter's own HTTP calls from being traced


@both
@pytest.mark.parametrize("error", [None, RuntimeError("boom"), SystemExit()], ids=repr)
def test_instrumentation_is_suppressed_during_an_export(
    processor_of: Processor, error: BaseException | None
) -> None:
    def answer() -> SpanExportResult:
        if error is not None:
            raise error
        return SpanExportResult.SUCCESS

    exporter = Exporter(answer)
    processor = processor_of(exporter)
    token = attach(set_value("mine", 1))
    try:
        end_spans(provider(processor), 1)
        processor.force_flush()
    except SystemExit:  # goes through to whoever called sys.exit(): SimpleSpanProcessor runs in their thread
        assert isinstance(error, SystemExit)
    finally:
        assert get_value(_SUPPRESS_INSTRUMENTATION_KEY) is None
        assert get_value("mine") == 1
        detach(token)
    assert exporter.suppressed == [True]
    processor.shutdown()


def test_it_is_suppressed_for_encoded_batches_too(batching: Batching) -> None:
    seen: list[Any] = []

    def answer(batch: SpanBatch) -> ExportOutcome:
        seen.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
        return ExportOutcome(exported=batch.count)

    processor = batching(Encoded(answer))
    end_spans(provider(processor), 1)
    assert processor.force_flush()
    SimpleSpanProcessor(Encoded(answer)).on_end(one_span())
    assert seen == [True, True]


def one_span() -> ReadableSpan:
    keep = Keep()
    end_spans(provider(keep), 1)
    return keep.spans[0]


# --- encoded batches


def test_a_batch_is_released_after_its_export(batching: Batching) -> None:
    kept: list[SpanBatch] = []

    def answer(batch: SpanBatch) -> ExportOutcome:
        kept.append(batch)
        return ExportOutcome(exported=batch.count)

    processor = batching(Encoded(answer))
    end_spans(provider(processor), 2)
    assert processor.force_flush()
    with pytest.raises(ValueError, match="released"):
        bytes(kept[0])


def test_a_view_that_outlives_its_batch_does_not_change(batching: Batching) -> None:
    views: list[tuple[memoryview, bytes]] = []

    def answer(batch: SpanBatch) -> ExportOutcome:
        views.extend((memoryview(buffer), bytes(buffer)) for buffer in batch.buffers)
        return ExportOutcome(exported=batch.count)

    processor = batching(Encoded(answer))
    for turn in range(5):
        end_spans(provider(processor), 50, f"turn {turn}")
        assert processor.force_flush()
    assert all(bytes(view) == copy for view, copy in views)


# --- our exporter behind the stock processors


@pytest.mark.parametrize("processor_of", [StockBatchSpanProcessor, StockSimpleSpanProcessor])
def test_our_exporter_behind_a_stock_processor(
    processor_of: Callable[[SpanExporter], SpanProcessor], make: Make, collector: Collector
) -> None:
    keep, processor = Keep(), processor_of(make(collector))
    end_spans(provider(processor, keep), 1)
    processor.force_flush()
    assert collector.wait_for_request().message == official(keep.spans)
    processor.shutdown()


def test_our_exporter_tells_a_stock_processor_of_failures(make: Make, collector: Collector) -> None:
    collector.script(Reply(500))
    span = one_span()
    assert make(collector).export([span]) is SpanExportResult.FAILURE
    assert make(collector).export([span]) is SpanExportResult.SUCCESS
    assert make(f"http://127.0.0.1:{free_port()}", timeout=0.7).export([span]) is SpanExportResult.FAILURE


def test_held_batches_of_both_kinds(batching: Batching) -> None:
    """A processor that comes to know of a redactor has encoded and kept spans at once."""
    exporter = Held()
    processor = batching(exporter)
    traced = provider(processor)
    end_spans(traced, 3, "encoded")
    traced.add_span_processor(Keep())
    end_spans(traced, 3, "kept")
    flush = threading.Thread(target=processor.force_flush)
    flush.start()
    exporter.let_go.set()
    flush.join()
    assert {span.name for span in exporter.spans} == {
        f"{k} {n}" for k in ("encoded", "kept") for n in range(3)
    }
    assert processor.stats() == account(6, exported=6)
