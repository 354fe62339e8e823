"""BatchSpanProcessor between the stock SDK and a collector: what arrives, in which batches, and when."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from .collector import Collector
from .exporting import collector_fixture, make_fixture  # noqa: F401
from .pipeline import (
    Batching,
    Held,
    account,
    batching_fixture,  # noqa: F401
    end_spans,
    in_threads,
    names,
    spans_of,
)
from .spans import Keep, official, provider


def test_what_arrives_is_what_the_official_encoder_gives(batching: Batching, collector: Collector) -> None:
    keep, processor = Keep(), batching(collector)
    tracer = provider(processor, keep).get_tracer("tests", "1.0", attributes={"scope": True})
    with tracer.start_as_current_span(
        "server", kind=SpanKind.SERVER, attributes={"http.route": "/é"}
    ) as parent:
        parent.add_event("event", {"tries": (1, 2, 3), "done": True})
        with pytest.raises(ZeroDivisionError), tracer.start_as_current_span("inner"):
            _ = 1 / 0
        tracer.start_span("client", kind=SpanKind.CLIENT, links=[]).end()
        parent.set_status(Status(StatusCode.ERROR, "it broke"))
    assert processor.force_flush()
    (request,) = collector.requests
    assert request.message == official(keep.spans)
    assert processor.stats() == account(3, exported=3)


def test_eight_threads_lose_and_double_nothing(batching: Batching, collector: Collector) -> None:
    processor = batching(collector, max_queue_size=100_000)
    tracer = provider(processor).get_tracer("tests")
    in_threads(8, lambda number: end_spans(tracer, 3000, f"thread {number} span"))
    assert processor.force_flush()
    received = Counter(names(collector.spans))
    assert received == Counter(f"thread {n} span {i}" for n in range(8) for i in range(3000))
    assert processor.stats() == account(24_000, exported=24_000)


def test_no_batch_is_larger_than_allowed(batching: Batching, collector: Collector) -> None:
    processor = batching(collector, max_export_batch_size=64)
    end_spans(provider(processor), 1000)
    assert processor.force_flush()
    sizes = [len(request.spans) for request in collector.requests]
    assert sum(sizes) == 1000
    assert max(sizes) <= 64


def test_a_full_batch_goes_out_at_once(batching: Batching, collector: Collector) -> None:
    processor = batching(collector, max_export_batch_size=10)
    end_spans(provider(processor), 25)
    collector.wait_for_spans(20)
    assert processor.force_flush()
    assert [len(request.spans) for request in collector.requests] == [10, 10, 5]


def test_a_batch_that_is_not_full_goes_out_on_time(batching: Batching, collector: Collector) -> None:
    traced = provider(batching(collector, schedule_delay_millis=30))
    for rounds in (1, 2, 3):
        end_spans(traced, 3)
        collector.wait_for_spans(3 * rounds)


def test_a_batch_of_one(batching: Batching, collector: Collector) -> None:
    processor = batching(collector, max_queue_size=1, max_export_batch_size=1)
    for number in range(3):
        end_spans(provider(processor), 1)
        collector.wait_for_request(number + 1)
        assert processor.force_flush()


def test_spans_arrive_in_the_order_in_which_they_ended(batching: Batching, collector: Collector) -> None:
    processor = batching(collector, max_export_batch_size=7)
    end_spans(provider(processor), 100)
    assert processor.force_flush()
    assert names(collector.spans) == [f"span {number}" for number in range(100)]


def test_spans_are_grouped_by_resource_and_scope(batching: Batching, collector: Collector) -> None:
    keep, processor = Keep(), batching(collector)
    for _ in range(2):
        for service in ("shop", "bank"):
            # Each its own object, and equal to the one of the round before.
            traced = provider(
                processor, keep, resource=Resource({"service.name": service}, f"https://{service}/1")
            )
            for scope in ("wsgi", "sqlite"):
                end_spans(traced.get_tracer(scope, "2", schema_url=f"https://{scope}/1"), 2, scope)
    assert processor.force_flush()
    (request,) = collector.requests
    assert request.message == official(keep.spans)
    assert [
        (
            resource.resource.attributes[0].value.string_value,
            [(s.scope.name, len(s.spans)) for s in resource.scope_spans],
        )
        for resource in request.message.resource_spans
    ] == [("shop", [("wsgi", 4), ("sqlite", 4)]), ("bank", [("wsgi", 4), ("sqlite", 4)])]


def test_a_batch_does_not_change_while_it_is_exported(batching: Batching) -> None:
    exporter = Held()
    processor = batching(exporter, max_export_batch_size=5)
    traced = provider(processor)
    end_spans(traced, 5, "first")
    assert exporter.entered.wait(20)
    end_spans(traced, 5, "second")
    exporter.let_go.set()
    assert processor.force_flush()
    assert [names(spans_of(batch)) for batch in exporter.batches] == [
        [f"first {n}" for n in range(5)],
        [f"second {n}" for n in range(5)],
    ]


def test_the_exporter_is_told_how_long_it_may_take(batching: Batching) -> None:
    exporter = Held()
    exporter.let_go.set()
    processor = batching(exporter, max_export_batch_size=2, export_timeout_millis=1500)
    end_spans(provider(processor), 3)
    assert processor.force_flush()
    assert exporter.timeouts == [1.5, 1.5]


def test_exports_never_run_at_once(batching: Batching) -> None:
    exporter = Held()
    processor = batching(exporter, max_export_batch_size=1)
    traced = provider(processor)
    end_spans(traced, 1)
    assert exporter.entered.wait(20)
    end_spans(traced, 4)
    flushes = [threading.Thread(target=processor.force_flush) for _ in range(4)]
    for flush in flushes:
        flush.start()
    assert not processor.force_flush(50)
    assert len(exporter.batches) == 1
    exporter.let_go.set()
    for flush in flushes:
        flush.join()
    assert names(exporter.spans) == [f"span {n}" for n in (0, 0, 1, 2, 3)]


def test_the_thread_starts_with_the_first_span(batching: Batching, collector: Collector) -> None:
    def running() -> set[str]:
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("otlpfast-export")}

    before = running()
    processor = batching(collector, max_export_batch_size=1)
    assert running() == before
    end_spans(provider(processor), 1)
    collector.wait_for_spans(1)
    assert running() == {"otlpfast-export"}
    processor.shutdown()


def test_it_is_a_processor_of_the_stock_sdk(batching: Batching, collector: Collector) -> None:
    processor = batching(collector)
    assert isinstance(processor, SpanProcessor)
    traced = provider(processor)
    end_spans(traced, 3)
    assert traced.force_flush() is True
    assert ExportTraceServiceRequest.FromString(collector.requests[0].body).resource_spans
    end_spans(traced, 2)
    traced.shutdown()
    assert len(collector.spans) == 5
    assert processor.stats() == account(5, exported=5)
