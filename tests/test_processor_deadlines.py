"""force_flush() and shutdown() end in time, and what a flush says is true."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from otlpfast import OTLPSpanExporter

from .collector import PATIENCE, Collector, Reply
from .exporting import Make, collector_fixture, free_port, make_fixture  # noqa: F401
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
from .spans import provider

HANGS = Reply(delay=float("inf"))
HOUR = 3_600_000


# --- the truth


def test_nothing_to_flush(batching: Batching, collector: Collector) -> None:
    processor = batching(collector)
    assert processor.force_flush() is True
    assert processor.force_flush(1000) is True
    assert collector.requests == []


def test_all_delivered(batching: Batching, collector: Collector) -> None:
    processor = batching(collector, max_export_batch_size=3)
    end_spans(provider(processor), 10)
    assert processor.force_flush() is True
    assert len(collector.spans) == 10


@pytest.mark.parametrize(
    "reply",
    [Reply(400), Reply(500), Reply(307), Reply.partial_success(1), Reply(raw=b"no HTTP")],
    ids=lambda value: type(value).__name__,
)
def test_not_all_delivered(batching: Batching, collector: Collector, reply: Reply) -> None:
    processor = batching(collector)
    collector.script(reply)
    end_spans(provider(processor), 3)
    assert processor.force_flush() is False
    end_spans(provider(processor), 3)
    assert processor.force_flush() is True


@pytest.mark.parametrize(
    "reply", [Reply(400), Reply(500), Reply.partial_success(1)], ids=lambda value: type(value).__name__
)
def test_a_batch_that_was_lost_before_the_flush(
    batching: Batching, collector: Collector, reply: Reply
) -> None:
    """It had ended too, whoever was faster: the worker or the flush."""
    processor = batching(collector, max_export_batch_size=3)
    collector.script(reply)
    end_spans(provider(processor), 3)
    until(lambda: processor.stats()["queued"] == 0, "the export of the full batch")
    assert processor.force_flush() is False
    assert processor.force_flush() is True


def test_one_of_several_batches_is_lost(batching: Batching, collector: Collector) -> None:
    processor = batching(collector, max_export_batch_size=2)
    collector.script(Reply(), Reply(500), Reply())
    end_spans(provider(processor), 6)
    assert processor.force_flush() is False
    assert processor.stats() == account(6, exported=4, export_failed=2)


def test_nobody_listens(batching: Batching) -> None:
    processor = batching(OTLPSpanExporter(f"http://127.0.0.1:{free_port()}/v1/traces", timeout=0.7))
    end_spans(provider(processor), 3)
    assert processor.force_flush() is False


def test_every_concurrent_flush_hears_of_a_loss(batching: Batching, collector: Collector) -> None:
    processor = batching(collector, max_export_batch_size=2)
    collector.script(Reply(400, delay=0.2))
    end_spans(provider(processor), 2)
    collector.wait_for_request()
    answers: list[bool] = []
    in_threads(4, lambda _: answers.append(processor.force_flush()))
    assert answers == [False] * 4
    assert processor.force_flush() is True


def test_many_threads_end_spans_and_flush(batching: Batching, collector: Collector) -> None:
    processor = batching(collector, max_export_batch_size=16)
    tracer = provider(processor).get_tracer("tests")

    def work(number: int) -> None:
        for turn in range(5):
            end_spans(tracer, 10, f"{number}.{turn}")
            assert processor.force_flush() is True
            arrived = set(names(collector.spans))
            assert {f"{number}.{turn} {i}" for i in range(10)} <= arrived

    in_threads(6, work)
    assert processor.stats() == account(300, exported=300)


# --- the deadlines


def test_a_collector_that_hangs(batching: Batching, make: Make, collector: Collector) -> None:
    collector.script(then=HANGS)
    processor = batching(make(collector, timeout=3600), export_timeout_millis=HOUR)
    end_spans(provider(processor), 3)
    with soon():
        assert processor.force_flush(100) is False
        assert processor.force_flush(0) is False
        assert processor.force_flush(-5) is False
        processor.shutdown(100)
    until(lambda: processor.stats()["queued"] == 0, "the end of the export that shutdown cut off")
    assert processor.stats() == account(3, export_failed=3)


def test_an_impatient_flush_costs_no_span(batching: Batching, collector: Collector) -> None:
    collector.script(Reply(delay=0.3))
    processor = batching(collector)
    end_spans(provider(processor), 3)
    assert processor.force_flush(50) is False
    assert processor.force_flush() is True
    assert processor.stats() == account(3, exported=3)


def test_an_exporter_that_ignores_its_deadline(batching: Batching) -> None:
    exporter = Held()
    processor = batching(exporter)
    end_spans(provider(processor), 3)
    with soon():
        assert processor.force_flush(50) is False
        processor.shutdown(50)
    assert exporter.shut == 1
    exporter.let_go.set()


def test_an_exporter_is_given_what_is_left_of_a_shutdown(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(exporter, export_timeout_millis=HOUR)
    end_spans(provider(processor), 3)
    processor.shutdown(5000)
    assert exporter.timeouts[0] is not None
    assert 0 < exporter.timeouts[0] <= 5


@pytest.mark.parametrize("timeout", [None, 1e300, float("inf"), 10**400, "5000", object()], ids=str)
def test_any_timeout_is_taken(batching: Batching, collector: Collector, timeout: Any) -> None:
    processor = batching(collector)
    end_spans(provider(processor), 1)
    with soon():
        assert processor.force_flush(timeout) is True
        processor.shutdown(timeout)


def test_a_timeout_that_is_no_number_has_passed(batching: Batching, collector: Collector) -> None:
    assert batching(collector).force_flush(float("nan")) is False


@pytest.mark.parametrize("delay", [10**400, 1e300])
def test_a_schedule_delay_of_ages(batching: Batching, collector: Collector, delay: float) -> None:
    processor = batching(collector, schedule_delay_millis=delay, max_export_batch_size=2)
    end_spans(provider(processor), 2)
    collector.wait_for_spans(2)
    assert processor.force_flush() is True


def test_a_flush_does_not_outwait_a_shutdown(batching: Batching) -> None:
    exporter = Held()
    processor = batching(exporter, max_export_batch_size=1)
    end_spans(provider(processor), 1)
    assert exporter.entered.wait(PATIENCE)
    answers: list[bool] = []
    flush = threading.Thread(target=lambda: answers.append(processor.force_flush(HOUR)))
    flush.start()
    processor.shutdown(50)
    exporter.let_go.set()
    flush.join(PATIENCE)
    assert answers == [False]
