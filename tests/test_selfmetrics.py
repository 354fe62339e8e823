"""The account as OpenTelemetry metrics, for whoever asks for them."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otlpfast import BatchSpanProcessor, ExportOutcome, SimpleSpanProcessor, SpanBatch

from .pipeline import NEVER_MILLIS, Encoded, Held, end_spans, ran
from .spans import provider

PROCESSED = "otel.sdk.processor.span.processed"
SIZE, CAPACITY = "otel.sdk.processor.span.queue.size", "otel.sdk.processor.span.queue.capacity"
NOTHING = dict.fromkeys(
    ("", "queue_full", "already_shutdown", "too_large", "export_failed", "encode_error", "fork"), 0
)


@pytest.fixture(name="enabled")
def enabled_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")


class Metrics:
    """A meter provider, and what it collects now."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def _points(self) -> list[tuple[str, Any]]:
        """All data points of processors, with the metrics' names."""
        data = self.reader.get_metrics_data()
        return [
            (metric.name, point)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name.startswith("otel.sdk.processor.")
            for point in metric.data.data_points
        ]

    def points(self) -> dict[str, dict[str, Any]]:
        """For each metric the values, by the error type ("" without one)."""
        found: dict[str, dict[str, Any]] = {}
        for name, point in self._points():
            found.setdefault(name, {})[point.attributes.get("error.type", "")] = point.value
        return found

    def components(self) -> set[tuple[str, str]]:
        attributes = [point.attributes for _, point in self._points()]
        return {(each["otel.component.type"], each["otel.component.name"]) for each in attributes}


def test_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, "", "false", "1"):
        if value is not None:
            monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", value)
        metrics = Metrics()
        processor = BatchSpanProcessor(Encoded(), meter_provider=metrics.provider)
        end_spans(provider(processor), 3)
        assert processor.force_flush()
        assert metrics.points() == {}
        processor.shutdown()


@pytest.mark.usefixtures("enabled")
def test_a_batch_processor() -> None:
    metrics, exporter = Metrics(), Held()
    processor = BatchSpanProcessor(
        exporter, 10, NEVER_MILLIS, 10, max_queue_bytes=1500, meter_provider=metrics.provider
    )
    traced = provider(processor)
    assert metrics.points() == {PROCESSED: NOTHING, SIZE: {"": 0}, CAPACITY: {"": 10}}
    end_spans(traced, 3)
    assert metrics.points() == {PROCESSED: NOTHING, SIZE: {"": 3}, CAPACITY: {"": 10}}
    traced.get_tracer("tests").start_span("large", attributes={"text": "x" * 2000}).end()
    end_spans(traced, 12)
    exporter.let_go.set()
    processor.force_flush()
    assert metrics.points() == {
        PROCESSED: {**NOTHING, "": 10, "queue_full": 5, "too_large": 1},
        SIZE: {"": 0},
        CAPACITY: {"": 10},
    }
    processor.shutdown()
    end_spans(traced, 2)
    assert metrics.points()[PROCESSED] == {
        **NOTHING,
        "": 10,
        "queue_full": 5,
        "too_large": 1,
        "already_shutdown": 2,
    }


@pytest.mark.usefixtures("enabled")
def test_a_simple_processor() -> None:
    metrics = Metrics()
    outcomes = iter([ExportOutcome(exported=1), ExportOutcome(failed=1), ExportOutcome(rejected=1)])

    def answer(_: SpanBatch) -> ExportOutcome:
        return next(outcomes)

    processor = SimpleSpanProcessor(Encoded(answer), meter_provider=metrics.provider)
    end_spans(provider(processor), 3)
    points = metrics.points()
    assert set(points) == {PROCESSED}
    assert points[PROCESSED]["export_failed"] == 1
    assert sum(points[PROCESSED].values()) == 3


@pytest.mark.usefixtures("enabled")
def test_each_component_has_its_name() -> None:
    metrics = Metrics()
    kept = [BatchSpanProcessor(Encoded(), meter_provider=metrics.provider) for _ in range(2)]
    simple = SimpleSpanProcessor(Encoded(), meter_provider=metrics.provider)
    components = metrics.components()
    assert len(components) == 3
    for kind, name in components:
        assert name.startswith(f"{kind}/")
        assert name.rpartition("/")[2].isdigit()
    assert sorted(kind for kind, _ in components) == [
        "batching_span_processor",
        "batching_span_processor",
        "simple_span_processor",
    ]
    del kept, simple


def _global_provider(when: str) -> list[str]:
    metrics, before, given, after = Metrics(), None, None, None
    if when in ("before", "both"):
        before = BatchSpanProcessor(Encoded())
    if when == "given":
        given = BatchSpanProcessor(Encoded(), meter_provider=metrics.provider)
        before = BatchSpanProcessor(Encoded())
    set_meter_provider(metrics.provider)
    if when in ("after", "both"):
        after = BatchSpanProcessor(Encoded())
    names = sorted(name for _, name in metrics.components())
    for processor in (before, given, after):
        if processor is not None:
            processor.shutdown()
    return names


@pytest.mark.parametrize(("when", "count"), [("before", 1), ("after", 1), ("both", 2), ("given", 2)])
def test_the_global_meter_provider_serves_whenever_it_was_set(when: str, count: int) -> None:
    found = ran(_global_provider, when, OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED="true")
    assert found == [f"batching_span_processor/{number}" for number in range(count)]


@pytest.mark.usefixtures("enabled")
def test_metrics_do_not_keep_a_processor_alive() -> None:
    metrics = Metrics()
    processor = BatchSpanProcessor(Encoded(), meter_provider=metrics.provider)
    assert metrics.points()
    del processor
    gc.collect()
    assert metrics.points() == {}
