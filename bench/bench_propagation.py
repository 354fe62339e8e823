"""W3C trace context and baggage in and out of headers: what a request costs beside its spans."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from opentelemetry import baggage, context, propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otlpfast import propagation

from .conftest import Measure
from .spans import Traced, traced

pytestmark = [
    pytest.mark.benchmark(timer=time.thread_time),
    pytest.mark.parametrize("side", ["SDK", "otlpfast"]),
]

TIMES = 1_000
PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
STATE = {**PARENT, "tracestate": "vendor=1"}
BAGGAGE = {"baggage": "user=17,session=a%20b"}
TRACE_CONTEXT: dict[str, TextMapPropagator] = {
    "SDK": TraceContextTextMapPropagator(),
    "otlpfast": propagation.TraceContextTextMapPropagator(),
}
# The API's default, and what stands in its place once otlpfast is configured.
USUAL: dict[str, TextMapPropagator] = {
    "SDK": CompositePropagator([TRACE_CONTEXT["SDK"], W3CBaggagePropagator()]),
    "otlpfast": propagation.CompositePropagator(
        [TRACE_CONTEXT["otlpfast"], propagation.W3CBaggagePropagator()]
    ),
}


@pytest.fixture
def of(side: str) -> Iterator[Traced]:
    made = traced(side)
    with made.tracer.start_as_current_span("current"):
        yield made


@pytest.mark.parametrize("came", [PARENT, STATE], ids=["traceparent", "traceparent and tracestate"])
def test_extract_and_inject(measure: Measure, side: str, came: dict[str, str]) -> None:
    propagator = TRACE_CONTEXT[side]

    def work() -> None:
        extract, inject = propagator.extract, propagator.inject
        for _ in range(TIMES):
            inject({}, extract(came))

    name = "extract + inject, trace context" + (" with tracestate" if came is STATE else "")
    measure(name, side, work, TIMES, promised=15, at_most=None if came is STATE else 0.45e-6)


@pytest.mark.parametrize("came", [PARENT, STATE, BAGGAGE], ids=["traceparent", "tracestate too", "baggage"])
def test_extract(measure: Measure, side: str, came: dict[str, str]) -> None:
    propagator = USUAL[side]

    def work() -> None:
        extract = propagator.extract
        for _ in range(TIMES):
            extract(came)

    measure(f"composite extract: {', '.join(came)}", side, work, TIMES)


@pytest.mark.parametrize("entries", [0, 2])
def test_inject(measure: Measure, of: Traced, side: str, entries: int) -> None:
    propagator = USUAL[side]
    here = context.get_current()
    for number in range(entries):
        here = baggage.set_baggage(f"key{number}", "a value", here)
    token = context.attach(here)

    def work() -> None:
        inject = propagator.inject
        for _ in range(TIMES):
            inject({})

    measure(f"composite inject: traceparent{', baggage' if entries else ''}", side, work, TIMES)
    context.detach(token)


def test_server_span(measure: Measure, side: str) -> None:
    of = traced(side)
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(USUAL[side])

    def work() -> None:
        for _ in range(TIMES):
            with of.tracer.start_as_current_span("GET /", context=propagate.extract(STATE)):
                propagate.inject({})
        of.drain()

    try:
        measure("extract, with start_as_current_span, inject", side, work, TIMES)
    finally:
        propagate.set_global_textmap(before)
