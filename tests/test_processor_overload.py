"""A queue that is full: what ``on_full`` says is what happens, and what is dropped is counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otlpfast import BatchSpanProcessor, ExportOutcome, SpanBatch
from otlpfast import TracerProvider as NativeProvider
from otlpfast._impl import SpanQueue
from otlpfast._overload import Block

from .collector import PATIENCE
from .exporting import make_fixture  # noqa: F401
from .pipeline import (
    Batching,
    Encoded,
    Held,
    account,
    batching_fixture,  # noqa: F401
    end_spans,
    in_threads,
    names,
    soon,
    until,
)
from .spans import Keep, provider


def traced_by(kind: str, processor: BatchSpanProcessor) -> TracerProvider:
    """Spans are encoded as they end by either provider, and kept where other processors come after."""
    if kind == "native":
        made = NativeProvider()
        made.add_span_processor(processor)
        return made
    return provider(processor, *[Keep()] * (kind == "kept"))


kinds = pytest.mark.parametrize("kind", ["native", "encoded", "kept"])


@contextmanager
def stalled(processor: BatchSpanProcessor, exporter: Held) -> Iterator[None]:
    """The exporter holds a batch of 5 meanwhile, so that nothing leaves the queue."""
    end_spans(provider(processor), 5, "under way")
    assert exporter.entered.wait(PATIENCE)
    try:
        yield
    finally:
        exporter.let_go.set()
    processor.force_flush()


@kinds
def test_drop_newest_keeps_the_first(batching: Batching, kind: str) -> None:
    exporter = Held()
    processor = batching(exporter, max_queue_size=10, max_export_batch_size=5, on_full="drop_newest")
    with stalled(processor, exporter):
        end_spans(traced_by(kind, processor), 25)
        assert processor.stats() == account(30, queued=15, queue_full=15)
    assert names(exporter.spans)[5:] == [f"span {n}" for n in range(10)]


@kinds
def test_drop_oldest_keeps_the_last(batching: Batching, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    exporter = Held()
    processor = batching(exporter, max_queue_size=10, max_export_batch_size=5, on_full="drop_oldest")
    with stalled(processor, exporter):
        end_spans(traced_by(kind, processor), 23)
        # The oldest batch goes as a whole: it is the newest 10 that are kept, or fewer by less than a batch.
        assert processor.stats() == account(28, queued=5 + 8, queue_full=15)
    assert names(exporter.spans)[5:] == [f"span {n}" for n in range(15, 23)]
    assert processor.stats() == account(28, exported=13, queue_full=15)
    (warning,) = [r for r in caplog.records if r.name == "otlpfast.processor"]
    assert warning.levelno == logging.WARNING and "queue_full" in warning.getMessage()


def test_drop_oldest_counts_bytes_too(batching: Batching) -> None:
    exporter = Held()
    processor = batching(exporter, max_queue_bytes=50_000, max_export_batch_size=5, on_full="drop_oldest")
    with stalled(processor, exporter):
        tracer = provider(processor).get_tracer("tests")
        for number in range(10):
            tracer.start_span(f"span {number}", attributes={"text": "x" * 20_000}).end()
    assert names(exporter.spans)[5:] == ["span 8", "span 9"]
    assert processor.stats() == account(15, exported=7, queue_full=8)


@kinds
def test_block_waits_for_room_and_loses_nothing(batching: Batching, kind: str) -> None:
    exporter = Encoded()
    processor = batching(
        exporter, max_queue_size=20, max_export_batch_size=5, on_full="block", block_timeout_millis=20_000
    )
    traced = traced_by(kind, processor)
    in_threads(4, lambda number: end_spans(traced, 1000, f"of {number}:"))
    assert processor.force_flush()
    assert processor.stats() == account(4000, exported=4000)
    for number in range(4):
        of_one = [name for name in names(exporter.spans) if name.startswith(f"of {number}:")]
        assert of_one == [f"of {number}: {n}" for n in range(1000)]


def test_block_loses_nothing_where_bytes_run_out(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(
        exporter, max_queue_bytes=100_000, on_full="block", block_timeout_millis=20_000
    )  # no batch ever gets full
    tracer = provider(processor).get_tracer("tests")
    with soon():
        for _ in range(100):
            tracer.start_span("span", attributes={"text": "x" * 30_000}).end()
    assert processor.force_flush()
    assert processor.stats() == account(100, exported=100)


def test_block_waits_in_vain_only_once(batching: Batching) -> None:
    exporter = Held()
    processor = batching(
        exporter, max_queue_size=5, max_export_batch_size=5, on_full="block", block_timeout_millis=50
    )
    traced = provider(processor)
    end_spans(traced, 5, "under way")
    assert exporter.entered.wait(PATIENCE)
    start = time.monotonic()
    end_spans(traced, 1005, "waits")
    # One wait of 0.05 s, and not a thousand of them.
    assert 0.04 < time.monotonic() - start < 20
    assert processor.stats() == account(1010, queued=10, queue_full=1000)
    exporter.let_go.set()
    assert processor.force_flush() is False  # 1000 were dropped
    end_spans(traced, 50, "later")
    assert processor.force_flush() is True
    assert processor.stats() == account(1060, exported=60, queue_full=1000)


def without_room(
    batching: Batching, kind: str, block_timeout_millis: int
) -> tuple[Held, BatchSpanProcessor, threading.Thread]:
    """One large span is under way, and a thread waits for room for another."""
    exporter = Held()
    processor = batching(
        exporter, max_queue_bytes=100_000, on_full="block", block_timeout_millis=block_timeout_millis
    )
    tracer = traced_by(kind, processor).get_tracer("tests")

    def end_large(name: str) -> None:
        tracer.start_span(name, attributes={"text": "x" * 60_000}).end()

    end_large("under way")
    processor._worker.hurry()
    assert exporter.entered.wait(PATIENCE)
    waits = threading.Thread(target=end_large, args=("waits",), daemon=True)
    waits.start()
    return exporter, processor, waits


@kinds
def test_block_waits_no_longer_where_room_is_made_that_is_too_small(batching: Batching, kind: str) -> None:
    """One wait, all in all, and not one after each time that somebody else took the room."""
    exporter, processor, waits = without_room(batching, kind, 200)

    def is_over() -> bool:
        processor._made_room()  # as after each small batch
        return not waits.is_alive()

    until(is_over, "the end of the wait")
    assert processor.stats() == account(2, queued=1, queue_full=1)
    exporter.let_go.set()


def test_block_sees_room_that_was_made_before_it_waits() -> None:
    queue = SpanQueue(10, 1000, 5)
    block = Block(queue, 86400.0, lambda: False, lambda: None)
    with soon():
        assert block(1000) is True


def test_a_span_that_ends_in_the_exporter_does_not_wait_for_it(batching: Batching) -> None:
    def export(batch: SpanBatch) -> ExportOutcome:
        end_spans(traced, 50, "of the exporter")
        return ExportOutcome(exported=batch.count)

    processor = batching(
        Encoded(export),
        max_queue_size=5,
        max_export_batch_size=5,
        on_full="block",
        block_timeout_millis=60_000,
    )
    traced = provider(processor)
    with soon():
        end_spans(traced, 5)
        until(lambda: processor.stats()["exported"] >= 5, "the first batch")
        processor.shutdown(5_000)
    stats = processor.stats()
    assert stats["queued"] == 0 and stats["dropped"]["queue_full"] >= 45


def test_shutdown_lets_those_go_on_who_wait(batching: Batching) -> None:
    exporter = Held()
    processor = batching(
        exporter, max_queue_size=5, max_export_batch_size=5, on_full="block", block_timeout_millis=60_000
    )
    traced = provider(processor)
    end_spans(traced, 10)
    assert exporter.entered.wait(PATIENCE)
    waits = threading.Thread(target=end_spans, args=(traced, 1), daemon=True)
    waits.start()
    with soon():
        until(lambda: processor.stats()["ended"] == 11, "the span that waits")
        processor.shutdown(100)
        waits.join()
    exporter.let_go.set()
    until(lambda: processor.stats()["queued"] == 0, "the batch under way")
    stats = processor.stats()
    assert stats["dropped"]["shutdown"] == 11 - stats["exported"]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"on_full": "panic"}, ValueError, "on_full='panic': one of drop_newest, drop_oldest, block, spool"),
        ({"on_full": 5}, TypeError, "on_full=5"),
        ({"on_full": "spool"}, ValueError, "needs a spool_dir"),
        (
            {"block_timeout_millis": 0},
            ValueError,
            "block_timeout_millis=0: a positive number of milliseconds",
        ),
        ({"block_timeout_millis": "1"}, TypeError, "block_timeout_millis='1'"),
    ],
)
def test_wrong_arguments(settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        BatchSpanProcessor(Encoded(), **settings)


@kinds
def test_who_waits_for_room_in_vain_at_shutdown_leaves_nothing_behind(batching: Batching, kind: str) -> None:
    exporter, processor, waits = without_room(batching, kind, 60_000)
    until(lambda: processor.stats()["ended"] == 2, "the span that waits")
    processor.shutdown(100)
    exporter.let_go.set()
    waits.join(PATIENCE)
    until(lambda: processor.stats() == account(2, exported=1, shutdown=1), "an end for both")
