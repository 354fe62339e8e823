"""Rate, errors and durations of spans, by otlpfast's provider and by the SDK's."""

from __future__ import annotations

import gc
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import TracerProvider as StockProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

import otlpfast
from otlpfast import BatchSpanProcessor, SpanMetricsProcessor, TracerProvider

from .collector import PATIENCE
from .forks import in_child
from .metering import Meters, NewMeters, meters_fixture  # noqa: F401
from .pipeline import Encoded, end_spans, in_threads, names, ran
from .spans import hand_made

CALLS, DURATION = "traces.span.metrics.calls", "traces.span.metrics.duration"
SECOND = 1_000_000_000
SERVICE = Resource({"service.name": "shop", "region": "eu"})


class RecordOnly(Sampler):
    """Records what nobody samples."""

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "RecordOnly"


@pytest.fixture(name="provider", params=[TracerProvider, StockProvider], ids=["own", "stock"])
def provider_fixture(request: pytest.FixtureRequest) -> Callable[..., StockProvider]:
    """Tracer providers with the processors given."""

    def new(*processors: SpanProcessor, sampler: Sampler = ALWAYS_ON) -> StockProvider:
        made: StockProvider = request.param(sampler=sampler, resource=SERVICE, shutdown_on_exit=False)
        for processor in processors:
            made.add_span_processor(processor)
        request.addfinalizer(made.shutdown)
        return made

    return new


NewProvider = Callable[..., StockProvider]


def taking(provider: StockProvider, seconds: float, name: str = "GET /", **more: Any) -> Any:
    """Ends a span that took so long; its context."""
    status = more.pop("status", None)
    span = provider.get_tracer("tests").start_span(name, start_time=SECOND, **more)
    if status is not None:
        span.set_status(status)
    span.end(SECOND + round(seconds * SECOND))
    return span.get_span_context()


def attributes(
    name: str = "GET /", kind: str = "INTERNAL", status: str = "UNSET", **more: Any
) -> dict[str, Any]:
    return {
        "service.name": "shop",
        "span.name": name,
        "span.kind": f"SPAN_KIND_{kind}",
        "status.code": f"STATUS_CODE_{status}",
        **more,
    }


def calls(metered: Meters, name: str = CALLS) -> list[tuple[dict[str, Any], int]]:
    points = [(dict(point.attributes), point.value) for point in metered.points(name)]
    return sorted(points, key=lambda point: sorted(map(str, point[0].items())))


def test_calls_and_durations_by_name_kind_and_status(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    spans = provider(SpanMetricsProcessor(metered.provider))
    taking(spans, 0.003)
    taking(spans, 0.003)
    taking(spans, 3, "POST /", kind=SpanKind.SERVER, status=StatusCode.ERROR)
    taking(spans, 0.5, "POST /", kind=SpanKind.SERVER, status=StatusCode.OK)
    seen = metered.collect()
    assert (seen[CALLS].unit or "", seen[DURATION].unit) == ("", "s")
    assert seen[CALLS].data.is_monotonic
    found = {tuple(p.attributes.items()): p for p in seen[DURATION].data.data_points}
    expected = [
        (attributes(), 2, 0.006),
        (attributes("POST /", "SERVER", "ERROR"), 1, 3),
        (attributes("POST /", "SERVER", "OK"), 1, 0.5),
    ]
    assert len(found) == len(expected)
    for which, count, total in expected:
        point = found[tuple(which.items())]
        assert (point.count, point.sum) == (count, pytest.approx(total))
    (first, *_) = seen[DURATION].data.data_points
    assert first.explicit_bounds[:3] == (0.002, 0.004, 0.006)
    assert first.explicit_bounds[-1] == 15
    assert first.bucket_counts[1] == 2
    assert [p.value for p in seen[CALLS].data.data_points] == [2, 1, 1]


def test_milliseconds_with_other_names_and_buckets(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    spans = provider(SpanMetricsProcessor(metered.provider, unit="ms", namespace="", buckets=[1, 100]))
    taking(spans, 0.05)
    seen = metered.collect()
    (point,) = seen["duration"].data.data_points
    assert seen["duration"].unit == "ms"
    assert (point.sum, point.explicit_bounds, point.bucket_counts) == (pytest.approx(50), (1, 100), (0, 1, 0))
    assert calls(metered, "calls") == [(attributes(), 1)]


def test_default_buckets_are_in_the_unit(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    taking(provider(SpanMetricsProcessor(metered.provider, unit="ms")), 0.05)
    (point,) = metered.points(DURATION)
    assert point.explicit_bounds == (
        2,
        4,
        6,
        8,
        10,
        50,
        100,
        200,
        400,
        800,
        1000,
        1400,
        2000,
        5000,
        10000,
        15000,
    )


def test_dimensions_come_from_the_span_then_from_its_resource(
    provider: NewProvider, meters: NewMeters
) -> None:
    metered = meters()
    dimensions = {"http.route": None, "region": "nowhere", "tier": "gold", "flag": None}
    spans = provider(SpanMetricsProcessor(metered.provider, dimensions=dimensions))
    taking(spans, 1, attributes={"http.route": "/a", "other": 1})
    taking(spans, 1, attributes={"region": "us", "flag": True})
    taking(spans, 1, attributes={"region": "us", "flag": 1})
    assert calls(metered) == [
        (attributes(tier="gold", region="us", flag=1), 1),
        (attributes(tier="gold", region="us", flag=True), 1),
        (attributes(**{"http.route": "/a"}, tier="gold", region="eu"), 1),
    ]


def test_attributes_that_are_left_out_do_not_tell_series_apart(
    provider: NewProvider, meters: NewMeters
) -> None:
    metered = meters()
    left_out = ["span.name", "service.name"]
    spans = provider(SpanMetricsProcessor(metered.provider, exclude_dimensions=left_out))
    taking(spans, 1, "a")
    taking(spans, 1, "b")
    assert calls(metered) == [({"span.kind": "SPAN_KIND_INTERNAL", "status.code": "STATUS_CODE_UNSET"}, 2)]


def test_beyond_the_limit_spans_count_for_one_series(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    spans = provider(SpanMetricsProcessor(metered.provider, max_series=2))
    for name in ("a", "b", "c", "d", "a"):
        taking(spans, 1, name)
    assert calls(metered) == [
        ({"otel.metric.overflow": True}, 2),
        (attributes("a"), 2),
        (attributes("b"), 1),
    ]
    assert sum(point.count for point in metered.points(DURATION)) == 5
    assert [point.value for point in metered.points("otlpfast.span_metrics.series")] == [2]


def test_durations_have_the_ids_of_sampled_spans_as_exemplars(
    provider: NewProvider, meters: NewMeters
) -> None:
    metered = meters()
    context = taking(provider(SpanMetricsProcessor(metered.provider)), 1)
    (point,) = metered.points(DURATION)
    (exemplar,) = point.exemplars
    assert (exemplar.trace_id, exemplar.span_id) == (context.trace_id, context.span_id)
    assert exemplar.value == 1


def test_spans_that_are_only_recorded_count_and_are_no_exemplars(
    provider: NewProvider, meters: NewMeters
) -> None:
    metered = meters()
    taking(provider(SpanMetricsProcessor(metered.provider), sampler=RecordOnly()), 1)
    (point,) = metered.points(DURATION)
    assert (point.count, list(point.exemplars)) == (1, [])


def test_spans_that_are_dropped_do_not_count(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    taking(provider(SpanMetricsProcessor(metered.provider), sampler=ALWAYS_OFF), 1)
    assert metered.points(DURATION) == []


def test_the_surrounding_span_is_no_exemplar(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    spans = provider(SpanMetricsProcessor(metered.provider))
    tracer = spans.get_tracer("tests")
    with tracer.start_as_current_span("outer") as outer, tracer.start_as_current_span("inner") as inner:
        pass
    ids = {p.attributes["span.name"]: [e.span_id for e in p.exemplars] for p in metered.points(DURATION)}
    assert ids == {
        "outer": [outer.get_span_context().span_id],
        "inner": [inner.get_span_context().span_id],
    }


def test_without_a_collection_the_thread_records(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    processor = SpanMetricsProcessor(metered.provider)
    taking(provider(processor), 1)
    assert processor.force_flush(PATIENCE * 1e3)
    assert not processor._recorder._pending
    assert [point.count for point in metered.points(DURATION)] == [1]


def test_shutdown_records_what_has_ended_and_nothing_after(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    processor = SpanMetricsProcessor(metered.provider)
    spans = provider(processor)
    taking(spans, 1)
    processor.shutdown()
    processor.shutdown()
    taking(spans, 1)
    assert processor.force_flush(PATIENCE * 1e3)
    assert [value for _, value in calls(metered)] == [1]


def test_many_threads_lose_nothing(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    processor = SpanMetricsProcessor(metered.provider)
    spans = provider(processor)

    def work(number: int) -> None:
        for _ in range(300):
            taking(spans, 1, f"thread {number % 2}")

    in_threads(6, work)
    assert calls(metered) == [(attributes("thread 0"), 900), (attributes("thread 1"), 900)]
    assert sum(point.count for point in metered.points(DURATION)) == 1800


def test_more_than_can_be_recorded_is_dropped_and_counted(
    provider: NewProvider, meters: NewMeters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otlpfast._recording._MOST", 3)
    monkeypatch.setattr("otlpfast._recording.Recorder._start", lambda _: False)  # nobody takes them away
    metered = meters()
    spans = provider(SpanMetricsProcessor(metered.provider))
    for _ in range(5):
        taking(spans, 1)
    assert [value for _, value in calls(metered)] == [3]
    assert [point.value for point in metered.points("otlpfast.span_metrics.dropped")] == [2]


def test_two_processors_on_one_provider_share_the_metrics(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    kept = [SpanMetricsProcessor(metered.provider) for _ in range(2)]
    for processor in kept:
        taking(provider(processor), 1)
    assert calls(metered) == [(attributes(), 2)]
    assert len(metered.points("otlpfast.span_metrics.series")) == 2


# --- whatever comes


def test_names_that_are_no_unicode_and_values_of_any_kind(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    spans = provider(SpanMetricsProcessor(metered.provider, dimensions=["list", "map"]))
    taking(spans, 1, "a\ud800", attributes={"list": [1, 2], "map": {"a": [1]}})
    ((found, count),) = calls(metered)
    assert (found["span.name"], found["list"], count) == ("a?", "(1, 2)", 1)
    assert isinstance(found["map"], str)


def test_odd_times_are_no_duration(meters: NewMeters) -> None:
    metered = meters()
    processor = SpanMetricsProcessor(metered.provider)
    for times in ({"start_time": 5, "end_time": 1}, {"end_time": None}, {"start_time": None}):
        processor.on_end(hand_made(**times))
    (point,) = metered.points(DURATION)
    assert (point.count, point.sum) == (3, 0)


def test_what_is_no_span_is_one_warning(meters: NewMeters, caplog: pytest.LogCaptureFixture) -> None:
    processor = SpanMetricsProcessor(meters().provider)
    for _ in range(3):
        processor.on_end(object())  # type: ignore[arg-type]
    assert [record.name for record in caplog.records] == ["otlpfast.spanmetrics"]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"unit": "m"}, ValueError),
        ({"meter_provider": 1}, TypeError),
        ({"namespace": None}, TypeError),
        ({"max_series": 0}, ValueError),
        ({"max_series": True}, TypeError),
        ({"buckets": [2, 1]}, ValueError),
        ({"buckets": [1, float("inf")]}, ValueError),
        ({"dimensions": "name"}, TypeError),
        ({"dimensions": [1]}, TypeError),
        ({"dimensions": ["span.name"]}, ValueError),
        ({"exclude_dimensions": "span.name"}, TypeError),
    ],
)
def test_wrong_arguments_name_themselves(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(settings))):
        SpanMetricsProcessor(**settings)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads here")
def test_a_signal_handler_may_end_a_span_while_another_is_measured(meters: NewMeters) -> None:
    metered = meters()
    spans = TracerProvider(resource=SERVICE, shutdown_on_exit=False)
    spans.add_span_processor(SpanMetricsProcessor(metered.provider))
    tracer, handled, idle = spans.get_tracer("tests"), [], queue.SimpleQueue[None]()
    idle.put(None)

    def handle(*_: object) -> None:
        tracer.start_span("handler").end()
        handled.append(1)
        idle.put(None)

    before = signal.signal(signal.SIGUSR1, handle)
    done, main = threading.Event(), threading.main_thread().ident
    assert main is not None

    def disturb() -> None:
        # One at a time: on a busy machine handlers would pile up.
        while idle.get(timeout=PATIENCE) is None and not done.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)

    thread = threading.Thread(target=disturb)
    try:
        thread.start()
        for _ in range(500):
            tracer.start_span("span").end()
            metered.reader.get_metrics_data()
    finally:
        done.set()
        idle.put(None)
        thread.join(PATIENCE)
        signal.signal(signal.SIGUSR1, before)
    counts = {which["span.name"]: count for which, count in calls(metered)}
    assert counts == {"span": 500, **({"handler": len(handled)} if handled else {})}
    spans.shutdown()


def _child(spans: StockProvider, processor: SpanMetricsProcessor) -> None:
    taking(spans, 1, "child")
    assert processor.force_flush(PATIENCE * 1e3)
    assert not processor._recorder._pending


def test_a_forked_child_measures_its_own(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    processor = SpanMetricsProcessor(metered.provider)
    spans = provider(processor)
    taking(spans, 1)
    assert processor.force_flush(PATIENCE * 1e3)  # its thread runs, and takes no lock now
    in_child(lambda: _child(spans, processor))
    assert calls(metered) == [(attributes(), 1)]


def test_metrics_do_not_keep_a_processor_alive(meters: NewMeters) -> None:
    metered = meters()
    processor = SpanMetricsProcessor(metered.provider)
    processor.on_end(hand_made())
    gone = weakref.ref(processor)
    processor.shutdown()
    del processor
    gc.collect()
    assert gone() is None
    assert metered.points("otlpfast.span_metrics.series") == []


# --- beside other processors


class Renaming(SpanProcessor):
    """Changes spans at their end, as redacting processors do."""

    def on_end(self, span: ReadableSpan) -> None:
        span._name = "renamed"


@pytest.mark.parametrize("first", [True, False])
def test_others_see_the_span_as_ever(first: bool, meters: NewMeters) -> None:
    exporter = Encoded()
    batching = BatchSpanProcessor(exporter)
    measuring = SpanMetricsProcessor(meters().provider)
    spans = TracerProvider(resource=SERVICE, shutdown_on_exit=False)
    order = (measuring, Renaming(), batching) if first else (Renaming(), batching, measuring)
    for processor in order:
        spans.add_span_processor(processor)
    end_spans(spans, 3)
    assert batching.force_flush()
    assert names(exporter.spans) == ["renamed"] * 3
    spans.shutdown()


def test_on_otlpfasts_provider_nobody_makes_a_copy_of_the_span(meters: NewMeters) -> None:
    batching = BatchSpanProcessor(Encoded())
    spans = TracerProvider(shutdown_on_exit=False)
    spans.add_span_processor(SpanMetricsProcessor(meters().provider))
    spans.add_span_processor(batching)
    route = spans._active_span_processor.route
    assert (len(route.ending), route.starting, route.ended, route.own) == (1, (), (), (batching,))
    spans.shutdown()


def test_a_subclass_is_any_other_processor(meters: NewMeters) -> None:
    class Mine(SpanMetricsProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            seen.append(type(span))
            super().on_end(span)

    seen: list[type] = []
    metered = meters()
    spans = TracerProvider(resource=SERVICE, shutdown_on_exit=False)
    spans.add_span_processor(Mine(metered.provider))
    taking(spans, 1)
    assert seen == [ReadableSpan]
    assert [value for _, value in calls(metered)] == [1]
    spans.shutdown()


def test_the_stock_provider_s_batch_processor_still_encodes_at_once(meters: NewMeters) -> None:
    batching = BatchSpanProcessor(Encoded())
    spans = StockProvider(shutdown_on_exit=False)
    spans.add_span_processor(batching)
    spans.add_span_processor(SpanMetricsProcessor(meters().provider))
    taking(spans, 1)
    assert batching._chain.is_final()
    spans.shutdown()


# --- switched on by a variable


def _configured() -> Any:
    metered = Meters()
    spans = otlpfast.configure(service_name="shop", exporters=[])
    metrics.set_meter_provider(metered.provider)  # later than the processor was made
    taking(spans, 1)
    points = calls(metered)
    spans.shutdown()
    return points


@pytest.mark.parametrize(("value", "disabled"), [("true", ""), ("true", "true"), ("", "")])
def test_a_variable_switches_it_on(value: str, disabled: str) -> None:
    variables = {"OTLPFAST_SPAN_METRICS": value, "OTLPFAST_DISABLED": disabled, "OTLPFAST_QUIET": "true"}
    found = ran(_configured, **variables)
    assert found == ([[attributes(), 1]] if value else [])


def test_a_program_without_metrics_does_not_load_them() -> None:
    code = (
        "import sys, otlpfast as o; p = o.TracerProvider(shutdown_on_exit=False);"
        "p.add_span_processor(o.BatchSpanProcessor(o.OTLPSpanExporter()));"
        "sys.exit(any(name.startswith('opentelemetry.sdk.metrics') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=2 * PATIENCE).returncode == 0
