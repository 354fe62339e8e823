"""The account: whatever happens to a span, it is counted once, and the sums agree."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanContext, TraceFlags

from otlpfast import ExportOutcome, OTLPSpanExporter, SpanBatch
from otlpfast._account import Stats

from .collector import Collector, Reply
from .exporting import collector_fixture, free_port, make_fixture  # noqa: F401
from .pipeline import (
    Batching,
    Encoded,
    Held,
    account,
    batching_fixture,  # noqa: F401
    end_spans,
    in_threads,
    names,
    until,
)
from .spans import Keep, hand_made, provider


def owing(stats: Stats) -> int:
    """How many spans the account has lost sight of."""
    known = stats["exported"] + stats["rejected"] + stats["spooled"] + stats["queued"]
    return stats["ended"] - known - sum(stats["dropped"].values())


def test_nothing_has_ended_yet(batching: Batching, collector: Collector) -> None:
    assert batching(collector).stats() == account(0)


def test_waiting_and_under_way_is_queued(batching: Batching) -> None:
    exporter = Held()
    processor = batching(exporter, max_export_batch_size=2)
    end_spans(provider(processor), 2)
    assert exporter.entered.wait(20)
    end_spans(provider(processor), 1)
    assert processor.stats() == account(3, queued=3)
    exporter.let_go.set()
    assert processor.force_flush()
    assert processor.stats() == account(3, exported=3)


def test_a_full_queue_drops_the_newest(batching: Batching, caplog: pytest.LogCaptureFixture) -> None:
    exporter = Held()
    processor = batching(exporter, max_queue_size=10, max_export_batch_size=10)
    traced = provider(processor)
    end_spans(traced, 10, "first")
    assert exporter.entered.wait(20)
    end_spans(traced, 17, "second")
    assert processor.stats() == account(27, queued=20, queue_full=7)
    exporter.let_go.set()
    processor.force_flush()
    assert processor.stats() == account(27, exported=20, queue_full=7)
    assert names(exporter.spans) == [f"first {n}" for n in range(10)] + [f"second {n}" for n in range(10)]
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "otlpfast.processor"]
    assert "dropped" in warning
    assert "queue_full" in warning


@pytest.mark.parametrize("late", [False, True])
def test_the_queue_is_bounded_in_bytes(batching: Batching, late: bool) -> None:
    exporter = Held()
    processor = batching(exporter, max_queue_bytes=100_000)
    tracer = provider(processor, *[Keep()] * late).get_tracer("tests")
    for _ in range(20):
        tracer.start_span("span", attributes={"text": "x" * 10_000}).end()
    assert processor.stats() == account(20, queued=9, queue_full=11)
    answers: list[bool] = []
    flush = threading.Thread(target=lambda: answers.append(processor.force_flush()))
    flush.start()
    assert exporter.entered.wait(20)
    # What is under way still takes memory.
    tracer.start_span("span", attributes={"text": "x" * 10_000}).end()
    assert processor.stats() == account(21, queued=9, queue_full=12)
    exporter.let_go.set()
    flush.join()
    tracer.start_span("span", attributes={"text": "x" * 90_000}).end()
    assert processor.force_flush() is True
    assert answers == [False]
    assert processor.stats() == account(22, exported=10, queue_full=12)


@pytest.mark.parametrize("late", [False, True])
def test_a_span_larger_than_the_whole_queue_is_too_large(batching: Batching, late: bool) -> None:
    exporter = Encoded()
    processor = batching(exporter, max_queue_bytes=10_000)
    tracer = provider(processor, *[Keep()] * late).get_tracer("tests")
    tracer.start_span("small").end()
    tracer.start_span("large", attributes={"text": "x" * 10_001}).end()
    tracer.start_span("small too").end()
    processor.force_flush()
    assert processor.stats() == account(3, exported=2, too_large=1)
    assert names(exporter.spans) == ["small", "small too"]


def test_spans_after_shutdown_are_dropped(
    batching: Batching, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    processor = batching(collector)
    traced = provider(processor)
    end_spans(traced, 3)
    processor.shutdown()
    end_spans(traced, 4)
    assert processor.stats() == account(7, exported=3, shutdown=4)
    (warning,) = [r for r in caplog.records if r.name == "otlpfast.processor"]
    assert "shutdown" in warning.getMessage()
    assert warning.levelno == logging.WARNING


def test_what_shutdown_had_no_time_for_is_dropped(batching: Batching) -> None:
    exporter = Held()
    processor = batching(exporter, max_export_batch_size=5)
    end_spans(provider(processor), 12)
    assert exporter.entered.wait(20)
    processor.shutdown(50)
    assert processor.stats() == account(12, queued=5, shutdown=7)
    exporter.let_go.set()
    until(lambda: processor.stats()["queued"] == 0, "the end of the export under way")
    assert processor.stats() == account(12, exported=5, shutdown=7)


@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_exporter_that_raises_ends_one_export(
    batching: Batching, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    fails = iter([True, False])

    def answer(batch: SpanBatch) -> ExportOutcome:
        if next(fails):
            raise error
        return ExportOutcome(exported=batch.count)

    exporter = Encoded(answer)
    processor = batching(exporter)
    traced = provider(processor)
    end_spans(traced, 3, "lost")
    assert processor.force_flush() is False
    assert processor.stats() == account(3, export_failed=3)
    end_spans(traced, 2, "delivered")
    assert processor.force_flush() is True
    assert processor.stats() == account(5, exported=2, export_failed=3)
    (warning,) = [r.getMessage() for r in caplog.records]
    assert type(error).__name__ in warning


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        3,
        ExportOutcome(exported=7),
        ExportOutcome(exported=-1, failed=4),
        ExportOutcome(too_large=4),
        ExportOutcome(),
    ],
    ids=repr,
)
def test_an_exporter_that_talks_nonsense_has_delivered_nothing(batching: Batching, nonsense: Any) -> None:
    processor = batching(Encoded(lambda _: nonsense))
    end_spans(provider(processor), 3)
    assert processor.force_flush() is False
    assert processor.stats() == account(3, export_failed=3)


def test_a_partial_success_is_counted(batching: Batching, collector: Collector) -> None:
    collector.script(Reply.partial_success(2, "too old"))
    processor = batching(collector)
    end_spans(provider(processor), 5)
    assert processor.force_flush() is False
    assert processor.stats() == account(5, exported=3, rejected=2)


@pytest.mark.parametrize(
    ("status", "became"),
    [
        (400, {"rejected": 4}),
        (415, {"rejected": 4}),
        (302, {"export_failed": 4}),
        (500, {"export_failed": 4}),
    ],
)
def test_a_refusal_is_counted(
    batching: Batching, collector: Collector, status: int, became: dict[str, int]
) -> None:
    collector.script(Reply(status))
    processor = batching(collector)
    end_spans(provider(processor), 4)
    assert processor.force_flush() is False
    assert processor.stats() == account(4, **became)


class RecordOnly(Sampler):
    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "RecordOnly"


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, RecordOnly()], ids=lambda s: s.get_description())
@pytest.mark.parametrize("late", [False, True])
def test_unsampled_spans_are_passed_over(batching: Batching, sampler: Sampler, late: bool) -> None:
    exporter = Encoded()
    processor = batching(exporter)
    traced = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    traced.add_span_processor(processor)
    if late:
        traced.add_span_processor(Keep())
    end_spans(traced, 5)
    assert processor.force_flush() is True
    assert processor.stats() == account(0)
    assert exporter.batches == []


class Nothing:
    """No span at all."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "hostile",
    [None, 3, Nothing(), hand_made(context=SpanContext(2**128, 2**64, False, TraceFlags(1)))],
    ids=["None", "int", "raising", "bad ids"],
)
def test_what_is_no_span_costs_itself_alone(batching: Batching, hostile: Any, late: bool) -> None:
    exporter = Encoded()
    processor = batching(exporter)
    traced = provider(processor, *[Keep()] * late)
    end_spans(traced, 1, "before")
    processor.on_start(hostile)
    processor.on_end(hostile)
    end_spans(traced, 1, "after")
    processor.force_flush()
    assert sorted(names(exporter.spans)) == ["after 0", "before 0"]
    stats = processor.stats()
    assert stats["exported"] == 2
    assert owing(stats) == 0
    assert stats["dropped"] in ({}, {"encode_error": 1})


def test_the_account_balances_in_the_thick_of_it(batching: Batching, collector: Collector) -> None:
    collector.script(*[Reply(500), Reply(), Reply(400), Reply.partial_success(1)] * 5)
    processor = batching(collector, max_queue_size=300, max_export_batch_size=30, max_queue_bytes=40_000)
    tracer = provider(processor).get_tracer("tests")

    def work(number: int) -> None:
        for turn in range(40):
            end_spans(tracer, 20)
            tracer.start_span("large", attributes={"text": "x" * 50_000}).end()
            if turn % 10 == number:
                processor.force_flush(5000)

    in_threads(8, work)
    processor.shutdown()
    stats = processor.stats()
    assert stats["ended"] == 8 * 40 * 21
    assert stats["dropped"]["too_large"] > 0
    assert stats["queued"] == 0
    assert owing(stats) == 0
    accepted = stats["ended"] - sum(stats["dropped"].get(why, 0) for why in ("queue_full", "too_large"))
    assert len(collector.spans) == accepted


def test_no_collector_at_the_endpoint(batching: Batching, caplog: pytest.LogCaptureFixture) -> None:
    """The application goes on; one warning says where nobody is, and why that is known."""
    endpoint = f"http://127.0.0.1:{free_port()}/v1/traces"
    processor = batching(OTLPSpanExporter(endpoint, timeout=0.7), max_export_batch_size=10)
    traced = provider(processor)
    for _ in range(5):
        end_spans(traced, 25)
        assert processor.force_flush() is False
    assert processor.stats() == account(125, export_failed=125)
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert endpoint in warning.getMessage()
    assert "connection refused" in warning.getMessage()
