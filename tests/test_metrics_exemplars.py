"""Exemplars of an application's own metrics: the spans they were recorded in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.context import attach, detach
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, TraceBasedExemplarFilter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import Span, Tracer, set_span_in_context

from otlpfast import TracerProvider

from .metering import Meters, NewMeters, meters_fixture  # noqa: F401
from .test_metrics_spans import RecordOnly


@pytest.fixture(name="metered")
def metered_fixture(meters: NewMeters) -> Meters:
    return meters(exemplar_filter=TraceBasedExemplarFilter())


def tracer(sampler: Sampler = ALWAYS_ON) -> Tracer:
    return TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("tests")


@pytest.fixture(name="instruments", params=["histogram", "counter"])
def instruments_fixture(request: pytest.FixtureRequest, metered: Meters) -> Iterator[Any]:
    meter = metered.provider.get_meter("tests")
    if request.param == "histogram":
        yield meter.create_histogram("measured").record
    else:
        yield meter.create_counter("measured").add


def exemplars(metered: Meters) -> list[tuple[int | None, int | None]]:
    (point,) = metered.points("measured")
    return [(exemplar.trace_id, exemplar.span_id) for exemplar in point.exemplars]


def ids(span: Span) -> tuple[int, int]:
    context = span.get_span_context()
    return context.trace_id, context.span_id


def test_a_measurement_in_a_sampled_span_has_its_ids(metered: Meters, instruments: Any) -> None:
    with tracer().start_as_current_span("outer"), tracer().start_as_current_span("inner") as span:
        instruments(5)
    assert exemplars(metered) == [ids(span)]


def test_a_measurement_with_a_context_has_the_ids_of_its_span(metered: Meters, instruments: Any) -> None:
    span = tracer().start_span("span")
    instruments(5, context=set_span_in_context(span))
    span.end()
    assert exemplars(metered) == [ids(span)]


def test_a_measurement_in_a_span_that_has_ended_has_its_ids(metered: Meters, instruments: Any) -> None:
    span = tracer().start_span("span")
    token = attach(set_span_in_context(span))
    span.end()
    instruments(5)
    detach(token)
    assert exemplars(metered) == [ids(span)]


def test_a_measurement_in_a_coroutine_has_the_ids_of_its_own_span(metered: Meters) -> None:
    histogram = metered.provider.get_meter("tests").create_histogram("measured")
    source = tracer()

    async def work(number: int) -> tuple[int, int]:
        with source.start_as_current_span(f"span {number}") as span:
            await asyncio.sleep(0)
            histogram.record(5, {"number": number})
            return ids(span)

    async def both() -> list[tuple[int, int]]:
        return list(await asyncio.gather(work(0), work(1)))

    expected = asyncio.run(both())
    found = {p.attributes["number"]: p.exemplars for p in metered.points("measured")}
    for number, pair in enumerate(expected):
        assert [(e.trace_id, e.span_id) for e in found[number]] == [pair]


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, RecordOnly()], ids=["dropped", "recorded"])
def test_a_measurement_in_an_unsampled_span_is_no_exemplar(
    sampler: Sampler, metered: Meters, instruments: Any
) -> None:
    with tracer(sampler).start_as_current_span("span"):
        instruments(5)
    assert exemplars(metered) == []


def test_a_measurement_outside_of_spans_is_no_exemplar(metered: Meters, instruments: Any) -> None:
    with tracer().start_as_current_span("span"):
        pass
    instruments(5)
    assert exemplars(metered) == []


def test_a_filter_that_takes_all_has_the_ids_of_unsampled_spans(meters: NewMeters) -> None:
    metered = meters(exemplar_filter=AlwaysOnExemplarFilter())
    histogram = metered.provider.get_meter("tests").create_histogram("measured")
    with tracer(RecordOnly()).start_as_current_span("span") as span:
        histogram.record(5)
    assert exemplars(metered) == [ids(span)]
