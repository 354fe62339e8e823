"""shutdown(), and flushes and shutdowns from where they hurt: the exporter and log handlers."""

from __future__ import annotations

import logging
import threading

import pytest

from otlpfast import BatchSpanProcessor, ExportOutcome, SpanBatch

from .collector import Collector, Reply
from .exporting import collector_fixture, make_fixture  # noqa: F401
from .pipeline import (
    Batching,
    Encoded,
    account,
    batching_fixture,  # noqa: F401
    end_spans,
    in_threads,
    soon,
    until,
)
from .spans import provider


def test_shutdown_delivers_what_waits(batching: Batching, collector: Collector) -> None:
    before = set(threading.enumerate())
    processor = batching(collector, max_export_batch_size=4)
    end_spans(provider(processor), 10)
    processor.shutdown()
    assert len(collector.spans) == 10
    assert processor.stats() == account(10, exported=10)
    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if thread.name.startswith("otlpfast")] == []


def test_a_second_shutdown_is_harmless(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(exporter)
    end_spans(provider(processor), 1)
    in_threads(4, lambda _: processor.shutdown())
    processor.shutdown()
    assert exporter.shut == 1
    assert processor.stats() == account(1, exported=1)


def test_a_flush_after_shutdown_has_delivered_nothing(batching: Batching, collector: Collector) -> None:
    processor = batching(collector)
    processor.shutdown()
    with soon():
        assert processor.force_flush() is False


def test_shutdown_without_a_span(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(exporter)
    processor.shutdown()
    assert exporter.shut == 1
    assert exporter.batches == []


@pytest.mark.parametrize(
    "error", [RuntimeError("boom"), TypeError("boom")], ids=lambda value: type(value).__name__
)
def test_an_exporter_whose_shutdown_raises(
    batching: Batching, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Encoded):
        def shutdown(self) -> None:
            raise error

    batching(Broken()).shutdown()
    (record,) = caplog.records
    assert "boom" in record.getMessage()


# --- from where it hurts


def test_a_flush_and_a_shutdown_inside_the_exporter(batching: Batching) -> None:
    answers: list[bool] = []

    def answer(batch: SpanBatch) -> ExportOutcome:
        answers.append(processor.force_flush())
        processor.shutdown()
        return ExportOutcome(exported=batch.count)

    exporter = Encoded(answer)
    processor: BatchSpanProcessor = batching(exporter, max_export_batch_size=2)
    with soon():
        end_spans(provider(processor), 2)
        until(lambda: exporter.shut == 1, "shutdown")
        until(lambda: processor.stats()["queued"] == 0, "the end of the export")
    assert answers == [False]
    assert processor.stats() == account(2, exported=2)


class Flushing(logging.Handler):
    """A log handler that ends a span and flushes."""

    def __init__(self, processor: BatchSpanProcessor) -> None:
        super().__init__()
        self.processor = processor
        self.answers: list[bool | BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        end_spans(provider(self.processor), 1, "from the log handler")
        try:
            self.answers.append(self.processor.force_flush())
        except BaseException as error:
            self.answers.append(error)


@pytest.mark.parametrize(
    "error", [None, RuntimeError(), SystemExit()], ids=lambda value: type(value).__name__
)
def test_a_log_handler_that_flushes(
    batching: Batching, request: pytest.FixtureRequest, error: BaseException | None
) -> None:
    """In the thread of the application, in the export thread during an export, and there after it failed."""

    def answer(batch: SpanBatch) -> ExportOutcome:
        if error is not None and len(exporter.batches) == 1:
            raise error
        return ExportOutcome(exported=batch.count)

    exporter = Encoded(answer)
    processor = batching(exporter, max_queue_size=2, max_export_batch_size=2)
    logger, handler = logging.getLogger("otlpfast"), Flushing(processor)
    logger.addHandler(handler)
    request.addfinalizer(lambda: logger.removeHandler(handler))
    with soon():
        end_spans(provider(processor), 50)
        processor.force_flush()
        processor.shutdown()
        end_spans(provider(processor), 1)
    until(lambda: processor.stats()["queued"] == 0, "the end of the last export")
    assert handler.answers
    assert set(handler.answers) <= {True, False}


def test_a_log_handler_that_raises(
    batching: Batching, collector: Collector, request: pytest.FixtureRequest
) -> None:
    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("from the log handler")

    logger, handler = logging.getLogger("otlpfast"), Raising()
    logger.addHandler(handler)
    request.addfinalizer(lambda: logger.removeHandler(handler))
    collector.script(Reply(500))
    processor = batching(collector, max_queue_size=2, max_queue_bytes=1000)
    tracer = provider(processor).get_tracer("tests")
    tracer.start_span("too large", attributes={"text": "x" * 2000}).end()
    end_spans(tracer, 1)
    assert processor.force_flush() is False
    end_spans(tracer, 1)
    assert processor.force_flush() is True
    processor.shutdown()
    end_spans(tracer, 1)
    assert processor.stats() == account(4, exported=1, too_large=1, export_failed=1, shutdown=1)
