"""Batches that get full one after the other: sent over one connection, by the compiled core without the GIL.

What the collector answers, and what comes in between, has the same effect as on any other batch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otlpfast import BatchSpanProcessor, OTLPSpanExporter
from otlpfast.batch import ExportOutcome, SpanBatch

from .collector import PATIENCE, Collector, Reply
from .exporting import Make, collector_fixture, make_fixture, one_warning, spans, warnings  # noqa: F401
from .forks import in_child
from .pipeline import Batching, account, batching_fixture, end_spans, in_threads, names, soon, until  # noqa: F401
from .traced import native

SIZE = 8  # spans in a batch


def batches(processor: BatchSpanProcessor, collector: Collector, *numbers: int) -> None:
    """Ends a full batch of spans for each number, once the one before has come to the collector."""
    for number in numbers:
        before = len(collector.requests)
        end_spans(native(processor), SIZE, f"batch {number}")
        collector.wait_for_request(before + 1)


def settled(processor: BatchSpanProcessor) -> None:
    until(lambda: not processor.stats()["queued"], "all that was full is accounted for")


def the_warning(caplog: pytest.LogCaptureFixture) -> str:
    until(lambda: bool(warnings(caplog)), "a warning")
    return one_warning(caplog)


@pytest.fixture(name="processor")
def processor_fixture(collector: Collector, batching: Batching) -> BatchSpanProcessor:
    return batching(collector, max_export_batch_size=SIZE, max_queue_size=8 * SIZE)


def test_full_batches_come_over_one_connection_in_order(
    processor: BatchSpanProcessor, collector: Collector
) -> None:
    batches(processor, collector, *range(20))
    settled(processor)
    assert processor.stats() == account(20 * SIZE, exported=20 * SIZE)
    assert [names(request.spans)[0] for request in collector.requests] == [f"batch {n} 0" for n in range(20)]
    assert {len(request.spans) for request in collector.requests} == {SIZE}
    assert collector.connections_opened == 1


def test_what_ends_in_many_threads_comes_once(collector: Collector, batching: Batching) -> None:
    processor = batching(collector, max_export_batch_size=16, max_queue_size=100_000)
    tracer = native(processor).get_tracer("tests")
    in_threads(8, lambda number: end_spans(tracer, 500, f"thread {number}"))
    assert processor.force_flush()
    assert processor.stats() == account(4000, exported=4000)
    expected = sorted(f"thread {thread} {number}" for thread in range(8) for number in range(500))
    assert sorted(names(collector.spans)) == expected
    assert max(len(request.spans) for request in collector.requests) == 16


class Plain(OTLPSpanExporter):
    """An exporter of somebody else's, which wants to see each batch."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.seen = 0

    def export_batch(self, batch: SpanBatch, timeout: float | None = None) -> ExportOutcome:
        self.seen += 1
        return super().export_batch(batch, timeout)


def test_an_exporter_of_somebody_elses_sees_each_batch(collector: Collector, batching: Batching) -> None:
    exporter = Plain(collector.endpoint)
    processor = batching(exporter, max_export_batch_size=SIZE)
    batches(processor, collector, 1, 2, 3)
    settled(processor)
    assert exporter.seen == 3


def many_sources() -> Sequence[ReadableSpan]:
    """Spans of some scopes and resources, one after the other, of very different sizes."""
    made = []
    for number in range(12 * SIZE):
        span = spans(1, text="x" * (40_000 if number % 29 == 0 else number))[0]
        span._instrumentation_scope = InstrumentationScope(f"scope {number % 3}", "1", "https://schema")
        span._resource = Resource({"service.name": f"service {number // (6 * SIZE)}"}, "https://schema")
        made.append(span)
    return made


def test_the_same_bytes_arrive_as_from_an_exporter_of_somebody_elses(batching: Batching) -> None:
    sent = []
    for kind in (OTLPSpanExporter, Plain):
        with Collector() as collector:
            processor = batching(kind(collector.endpoint), max_export_batch_size=SIZE)
            for start in range(0, 12 * SIZE, SIZE):
                for span in many_sources()[start : start + SIZE]:
                    processor.on_end(span)
                collector.wait_for_request(start // SIZE + 1)
            sent.append([(request.body, sorted(request.headers.items())) for request in collector.requests])
            processor.shutdown()
    plain = [[(name, value) for name, value in fields if name != "host"] for _, fields in sent[1]]
    assert [body for body, _ in sent[0]] == [body for body, _ in sent[1]]
    assert [[field for field in fields if field[0] != "host"] for _, fields in sent[0]] == plain


def test_a_request_that_is_too_large_is_sent_in_pieces(collector: Collector, batching: Batching) -> None:
    exporter = OTLPSpanExporter(collector.endpoint, max_request_bytes=3000)
    processor = batching(exporter, max_export_batch_size=SIZE)
    tracer = native(processor).get_tracer("tests")
    for number in range(3 * SIZE):
        tracer.start_span(str(number), attributes={"text": "x" * 1000}).end()
    assert processor.force_flush()
    assert sorted(map(int, names(collector.spans))) == list(range(3 * SIZE))
    assert max(len(request.body) for request in collector.requests) <= 3000


# --- answers


@pytest.mark.parametrize(
    "answer",
    [
        Reply(body=b"\n\0"),
        Reply(headers={"Connection": "keep-alive", "X-More": "\t"}),
        Reply(body=b"\n\x04\x12\x02ok"),
        Reply(headers={"X-Long": "x" * 5000}),
        Reply(body=b"\x7a\x82\x10" + bytes(2050)),
        Reply(drip=0.001),
        Reply(202),
        Reply(headers={"Content-Length": "00"}),
    ],
    ids=["official", "kept", "a remark", "a long head", "a long body", "in drips", "202", "odd length"],
)
def test_an_answer_of_success_is_one_however_it_is_said(
    processor: BatchSpanProcessor, collector: Collector, answer: Reply
) -> None:
    collector.script(Reply(), answer, answer)
    batches(processor, collector, 1, 2, 3, 4)
    settled(processor)
    assert processor.stats() == account(4 * SIZE, exported=4 * SIZE)
    assert (len(collector.requests), collector.connections_opened) == (4, 1)


@pytest.mark.parametrize(
    "answer",
    [
        Reply(hang_up=True),
        Reply(reset=True),
        Reply(503, headers={"Retry-After": "0"}),
        Reply(raw=b"HTTP/1.1 429 \r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n"),
    ],
    ids=["hangs up", "resets", "503", "429"],
)
def test_a_batch_that_was_not_taken_is_sent_again(
    processor: BatchSpanProcessor, collector: Collector, answer: Reply
) -> None:
    collector.script(Reply(), answer)
    batches(processor, collector, 1, 2, 3)
    assert processor.force_flush()
    assert processor.stats() == account(3 * SIZE, exported=3 * SIZE)
    assert [names(request.spans)[0][:7] for request in collector.requests] == [
        "batch 1",
        "batch 2",
        "batch 2",
        "batch 3",
    ]


def test_a_connection_that_was_closed_meanwhile_is_replaced(
    processor: BatchSpanProcessor, collector: Collector
) -> None:
    collector.script(Reply(), Reply(close_after=True))
    batches(processor, collector, 1, 2)
    collector.wait_for_closed_connections(1)
    batches(processor, collector, 3, 4)
    settled(processor)
    assert processor.stats() == account(4 * SIZE, exported=4 * SIZE)
    assert (len(collector.requests), collector.connections_opened) == (4, 2)


def test_what_a_collector_refuses_is_counted_and_told(
    processor: BatchSpanProcessor, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Reply(), Reply.partial_success(3, "no such tenant"))
    batches(processor, collector, 1, 2, 3)
    assert not processor.force_flush()
    assert processor.stats() == account(3 * SIZE, exported=3 * SIZE - 3, rejected=3)
    assert the_warning(caplog).endswith(f"rejected 3 of {SIZE} spans: no such tenant")


def test_an_answer_that_is_no_http_is_told_and_its_batch_given_up(
    processor: BatchSpanProcessor, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Reply(), Reply(raw=b"SSH-2.0-OpenSSH_9.2\r\n"))
    batches(processor, collector, 1, 2, 3)
    assert not processor.force_flush()
    assert processor.stats() == account(3 * SIZE, exported=2 * SIZE, export_failed=SIZE)
    assert "the answer is not HTTP/1.1" in the_warning(caplog)


def test_an_answer_that_does_not_come_is_not_waited_for(
    collector: Collector, batching: Batching, caplog: pytest.LogCaptureFixture
) -> None:
    processor = batching(OTLPSpanExporter(collector.endpoint, timeout=5), max_export_batch_size=SIZE)
    collector.script(Reply(), Reply(delay=float("inf")))
    batches(processor, collector, 1, 2)
    assert not processor.force_flush()
    assert processor.stats() == account(2 * SIZE, exported=SIZE, export_failed=SIZE)
    told = the_warning(caplog)
    assert f"could not deliver {SIZE} spans" in told
    assert "timed out after 5 s waiting for the answer" in told
    batches(processor, collector, 3)
    settled(processor)
    assert processor.stats() == account(3 * SIZE, exported=2 * SIZE, export_failed=SIZE)


# --- what comes in between


def test_a_flush_takes_what_is_not_full_at_once(processor: BatchSpanProcessor, collector: Collector) -> None:
    for number in range(5):
        batches(processor, collector, number)
        end_spans(native(processor), 3, "rest")
        with soon():
            assert processor.force_flush()
    assert processor.stats() == account(5 * SIZE + 15, exported=5 * SIZE + 15)


def test_the_timer_takes_what_is_not_full(collector: Collector, batching: Batching) -> None:
    processor = batching(collector, max_export_batch_size=SIZE, schedule_delay_millis=300)
    batches(processor, collector, 1, 2)
    end_spans(native(processor), 3, "rest")
    assert len(collector.wait_for_spans(2 * SIZE + 3)) == 2 * SIZE + 3


def test_an_exporter_that_two_processors_share_keeps_nobody_waiting(
    collector: Collector, batching: Batching, make: Make
) -> None:
    exporter = make(collector)
    one, other = (batching(exporter, max_export_batch_size=SIZE) for _ in range(2))
    with soon():
        for number in range(6):
            batches(one, collector, number)
            batches(other, collector, number)
            assert exporter.force_flush(int(PATIENCE * 1000))
            exporter.export(spans())
    assert len(collector.spans) == 12 * SIZE + 6 * 3


def test_a_shutdown_delivers_the_rest(processor: BatchSpanProcessor, collector: Collector) -> None:
    batches(processor, collector, 1, 2)
    end_spans(native(processor), 3, "rest")
    with soon():
        processor.shutdown()
    assert processor.stats() == account(2 * SIZE + 3, exported=2 * SIZE + 3)


def test_a_shutdown_that_runs_out_of_time_drops_what_waits(
    collector: Collector, batching: Batching, caplog: pytest.LogCaptureFixture
) -> None:
    processor = batching(collector, max_export_batch_size=SIZE, max_queue_size=8 * SIZE)
    collector.script(Reply(), Reply(delay=float("inf")))
    batches(processor, collector, 1, 2)
    end_spans(native(processor), 3 * SIZE, "late")
    with soon():
        processor.shutdown(0)
    until(lambda: not processor.stats()["queued"], "what was under way is given up")
    stats = processor.stats()
    assert (stats["exported"], stats["dropped"]) == (SIZE, {"shutdown": 3 * SIZE, "export_failed": SIZE})


def test_a_queue_that_is_full_drops_and_counts(collector: Collector, batching: Batching) -> None:
    processor = batching(collector, max_export_batch_size=SIZE, max_queue_size=2 * SIZE)
    collector.script(Reply(), Reply(delay=float("inf")))
    batches(processor, collector, 1, 2)
    end_spans(native(processor), 5 * SIZE, "more")
    assert processor.stats() == account(7 * SIZE, exported=SIZE, queued=3 * SIZE, queue_full=3 * SIZE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_begins_anew_and_its_parent_goes_on(
    processor: BatchSpanProcessor, collector: Collector
) -> None:
    batches(processor, collector, 1, 2)
    end_spans(native(processor), 3, "rest")

    def child() -> Any:
        end_spans(native(processor), 3 * SIZE + 1, "child")
        return [processor.force_flush(), processor.stats()]

    assert in_child(child) == [True, account(3 * SIZE + 1, exported=3 * SIZE + 1)]
    batches(processor, collector, 3)
    assert processor.force_flush()
    assert processor.stats() == account(3 * SIZE + 3, exported=3 * SIZE + 3)
    assert len(collector.spans) == 6 * SIZE + 4
