"""How many spans were started and are live: as the SDK's own tracer provider counts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider as StockProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otlpfast import BatchSpanProcessor, TracerProvider

from .forks import in_child
from .metering import Meters, NewMeters, enabled_fixture, meters_fixture  # noqa: F401
from .pipeline import NEVER_MILLIS, Encoded, in_threads

STARTED, LIVE = "otel.sdk.span.started", "otel.sdk.span.live"
REMOTE = set_span_in_context(NonRecordingSpan(SpanContext(1, 2, True, TraceFlags(1))), Context())

pytestmark = pytest.mark.usefixtures("enabled")


class ByName(Sampler):
    """Decides what the span's name says."""

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *_: Any, **__: Any
    ) -> SamplingResult:
        return SamplingResult(Decision[name])

    def get_description(self) -> str:
        return "ByName"


@pytest.fixture(name="provider", params=[TracerProvider, StockProvider], ids=["own", "stock"])
def provider_fixture(request: pytest.FixtureRequest) -> Callable[..., StockProvider]:
    """Both have to count alike."""

    def new(metered: Meters, sampler: Sampler = ALWAYS_ON) -> StockProvider:
        made: StockProvider = request.param(sampler, meter_provider=metered.provider, shutdown_on_exit=False)
        return made

    return new


NewProvider = Callable[..., StockProvider]


def started(metered: Meters) -> dict[tuple[str, str], int]:
    return {
        (p.attributes["otel.span.parent.origin"], p.attributes["otel.span.sampling_result"]): p.value
        for p in metered.points(STARTED)
    }


def live(metered: Meters) -> dict[str, float]:
    return metered.values(LIVE, "otel.span.sampling_result")


def test_by_the_parent_and_the_sampler_s_decision(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    tracer = provider(metered, ByName()).get_tracer("tests")
    for name in ("DROP", "RECORD_ONLY", "RECORD_AND_SAMPLE", "RECORD_AND_SAMPLE"):
        root = tracer.start_span(name)
        child = tracer.start_span(name, set_span_in_context(root))
        tracer.start_span(name, REMOTE).end()
        child.end()
        if name == "RECORD_ONLY":
            root.end()
    assert started(metered) == {
        (origin, name): count
        for origin in ("none", "local", "remote")
        for name, count in (("DROP", 1), ("RECORD_ONLY", 1), ("RECORD_AND_SAMPLE", 2))
    }
    assert live(metered) == {"RECORD_ONLY": 0, "RECORD_AND_SAMPLE": 2}
    seen = metered.collect()
    assert (seen[STARTED].unit, seen[LIVE].unit) == ("{span}", "{span}")
    assert (seen[STARTED].data.is_monotonic, seen[LIVE].data.is_monotonic) == (True, False)


def test_a_span_that_is_ended_twice_is_gone_once(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    span = provider(metered).get_tracer("tests").start_span("span")
    assert live(metered) == {"RECORD_AND_SAMPLE": 1}
    span.end()
    span.end()
    assert live(metered) == {"RECORD_AND_SAMPLE": 0}


def test_several_providers_sum_up(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    for _ in range(2):
        provider(metered).get_tracer("tests").start_span("span").end()
        provider(metered, ALWAYS_OFF).get_tracer("others").start_span("span").end()
    assert started(metered) == {("none", "RECORD_AND_SAMPLE"): 2, ("none", "DROP"): 2}


def test_many_threads_lose_no_count(provider: NewProvider, meters: NewMeters) -> None:
    metered = meters()
    tracer = provider(metered).get_tracer("tests")
    in_threads(4, lambda _: [tracer.start_span("span").end() for _ in range(500)] and None)
    assert started(metered) == {("none", "RECORD_AND_SAMPLE"): 2000}
    assert live(metered) == {"RECORD_AND_SAMPLE": 0}


def test_spans_are_delivered_as_without(meters: NewMeters) -> None:
    metered, exporter = meters(), Encoded()
    processor = BatchSpanProcessor(exporter, schedule_delay_millis=NEVER_MILLIS)
    traced = TracerProvider(meter_provider=metered.provider, shutdown_on_exit=False)
    traced.add_span_processor(processor)
    with traced.get_tracer("tests").start_as_current_span("span"):
        pass
    assert processor.force_flush()
    assert [span.name for span in exporter.spans] == ["span"]
    traced.shutdown()


def test_nobody_asked(provider: NewProvider, meters: NewMeters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED")
    metered = meters()
    provider(metered).get_tracer("tests").start_span("span").end()
    assert metered.collect() == {}


def test_a_forked_child_counts_its_own(meters: NewMeters) -> None:
    metered = meters()
    tracer = TracerProvider(meter_provider=metered.provider, shutdown_on_exit=False).get_tracer("tests")
    parents = tracer.start_span("span")

    def child() -> None:
        parents.end()  # is none of the child's
        span = tracer.start_span("span")
        assert (started(metered), live(metered)) == (
            {("none", "RECORD_AND_SAMPLE"): 1},
            {"RECORD_AND_SAMPLE": 1},
        )
        span.end()

    in_child(child)
    assert live(metered) == {"RECORD_AND_SAMPLE": 1}
