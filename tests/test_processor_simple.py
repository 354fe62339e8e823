"""SimpleSpanProcessor: each span is exported as it ends, by the thread that ends it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otlpfast import ExportOutcome, SimpleSpanProcessor, SpanBatch

from .collector import Collector, Reply
from .exporting import Make, collector_fixture, make_fixture  # noqa: F401
from .pipeline import Encoded, account, end_spans, in_threads, names
from .spans import Keep, official, provider


def test_a_span_arrives_before_end_returns(make: Make, collector: Collector) -> None:
    keep, processor = Keep(), SimpleSpanProcessor(make(collector))
    assert isinstance(processor, SpanProcessor)
    tracer = provider(processor, keep).get_tracer("tests")
    for number in range(3):
        tracer.start_span(f"span {number}", attributes={"n": number}).end()
        assert len(collector.requests) == number + 1
        assert collector.requests[-1].message == official(keep.spans[-1:])
    assert processor.stats() == account(3, exported=3)


def test_exports_never_run_at_once() -> None:
    under_way, most = [0], [0]

    def answer(batch: SpanBatch) -> ExportOutcome:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        threading.Event().wait(0.0005)  # lets the others run
        under_way[0] -= 1
        return ExportOutcome(exported=batch.count)

    exporter = Encoded(answer)
    processor = SimpleSpanProcessor(exporter)
    tracer = provider(processor).get_tracer("tests")
    in_threads(8, lambda number: end_spans(tracer, 20, str(number)))
    assert most == [1]
    assert sorted(names(exporter.spans)) == sorted(f"{n} {i}" for n in range(8) for i in range(20))
    assert processor.stats() == account(160, exported=160)


@pytest.mark.parametrize(
    ("reply", "became"),
    [
        (Reply(400), {"rejected": 1}),
        (Reply(413), {"too_large": 1}),
        (Reply(500), {"export_failed": 1}),
        (Reply.partial_success(1), {"rejected": 1}),
    ],
    ids=["400", "413", "500", "partial success"],
)
def test_a_refusal_is_counted(make: Make, collector: Collector, reply: Reply, became: dict[str, int]) -> None:
    collector.script(reply)
    processor = SimpleSpanProcessor(make(collector))
    end_spans(provider(processor), 2)
    assert processor.stats() == account(2, exported=1, **became)


def test_unsampled_spans_are_passed_over() -> None:
    exporter = Encoded()
    processor = SimpleSpanProcessor(exporter)
    traced = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    traced.add_span_processor(processor)
    end_spans(traced, 3)
    assert exporter.batches == []
    assert processor.stats() == account(0)


def test_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    exporter = Encoded()
    processor = SimpleSpanProcessor(exporter)
    traced = provider(processor)
    end_spans(traced, 1)
    assert processor.force_flush() is True
    processor.shutdown()
    processor.shutdown()
    end_spans(traced, 2)
    assert exporter.shut == 1
    assert processor.stats() == account(3, exported=1, shutdown=2)
    (warning,) = caplog.records
    assert "shutdown" in warning.getMessage()


def test_an_exporter_that_ends_a_span() -> None:
    def answer(batch: SpanBatch) -> ExportOutcome:
        if len(exporter.batches) == 1:
            end_spans(traced, 1, "from the exporter")
        return ExportOutcome(exported=batch.count)

    exporter = Encoded(answer)
    processor = SimpleSpanProcessor(exporter)
    traced = provider(processor)
    end_spans(traced, 1)
    assert names(exporter.spans) == ["span 0", "from the exporter 0"]
    assert processor.stats() == account(2, exported=2)


@pytest.mark.parametrize("nonsense", [None, ExportOutcome(exported=2)], ids=repr)
def test_an_exporter_that_talks_nonsense(nonsense: Any) -> None:
    processor = SimpleSpanProcessor(Encoded(lambda _: nonsense))
    end_spans(provider(processor), 1)
    assert processor.stats() == account(1, export_failed=1)


class Nothing:
    """No span at all."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("hostile", [None, 3, Nothing()], ids=["None", "int", "raising"])
def test_what_is_no_span_raises_nothing(hostile: Any) -> None:
    exporter = Encoded()
    processor = SimpleSpanProcessor(exporter)
    processor.on_start(hostile)
    processor.on_end(hostile)
    assert exporter.batches == []
    assert processor.stats() in (account(0), account(1, encode_error=1))


def test_a_processor_after_it_changes_nothing_any_more() -> None:
    """As with the stock one: it exports in on_end, before the next processor sees the span."""

    class Renaming(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            span._name = "renamed"

    exporter, after = Encoded(), Encoded()
    end_spans(provider(SimpleSpanProcessor(exporter), Renaming(), SimpleSpanProcessor(after)), 1)
    assert names(exporter.spans) == ["span 0"]
    assert names(after.spans) == ["renamed"]
