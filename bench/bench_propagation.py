"""W3C trace context in and out, by the API's propagators: what a request costs beside its spans."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .conftest import Measure
from .spans import traced

pytestmark = [
    pytest.mark.benchmark(timer=time.thread_time),
    pytest.mark.parametrize("side", ["SDK", "otlpfast"]),
]

TIMES = 1_000
TRACE_CONTEXT = TraceContextTextMapPropagator()
USUAL = CompositePropagator([TRACE_CONTEXT, W3CBaggagePropagator()])  # the API's default
CAME = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=1"}


@pytest.fixture
def tracer(side: str) -> Iterator[Any]:
    of = traced(side)
    with of.tracer.start_as_current_span("current"):
        yield of.tracer


@pytest.mark.parametrize("propagator", [TRACE_CONTEXT, USUAL], ids=["trace context", "with baggage"])
def test_inject(measure: Measure, tracer: Any, side: str, propagator: Any) -> None:
    token = context.attach(baggage.set_baggage("user", "17")) if propagator is USUAL else None

    def work() -> None:
        for _ in range(TIMES):
            propagator.inject({})

    operation = f"inject {'trace context and baggage' if token else 'trace context'} (the API's, both)"
    measure(operation, side, work, TIMES)
    if token:
        context.detach(token)


def test_extract(measure: Measure, tracer: Any, side: str) -> None:
    def work() -> None:
        for _ in range(TIMES):
            TRACE_CONTEXT.extract(CAME)

    measure("extract trace context (the API's, both)", side, work, TIMES)


def test_server_span(measure: Measure, side: str) -> None:
    of = traced(side)

    def work() -> None:
        for _ in range(TIMES):
            with of.tracer.start_as_current_span("GET /", context=USUAL.extract(CAME)):
                USUAL.inject({})
        of.drain()

    measure("extract, with start_as_current_span, inject", side, work, TIMES)
