"""By how many: attributes set one by one, events and links that a processor reads, rules about scopes.

Named as opentelemetry-python names its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, _RuleBasedTracerConfigurator, _TracerConfig
from opentelemetry.trace import Link, SpanContext, TraceFlags

from .conftest import Measure
from .spans import Keep, provider, some_attributes, traced

pytestmark = [
    pytest.mark.benchmark(timer=time.thread_time),
    pytest.mark.parametrize("side", ["SDK", "otlpfast"]),
]

TIMES = 100
COUNTS = pytest.mark.parametrize("count", [1, 10, 50, 128])
ELSEWHERE = SpanContext(0xDEADBEEF, 0xDEADBEF0, True, TraceFlags(TraceFlags.SAMPLED))


def some(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def run(measure: Measure, operation: str, side: str, work: Callable[[], None], drain: Any = None) -> None:
    """Measures ``work``, which does its operation TIMES times; the queue is emptied between rounds."""
    nothing: Any = ((), {})
    measure(operation, side, work, TIMES, setup=lambda: nothing, teardown=drain, rounds=60)


@COUNTS
def test_set_attribute(measure: Measure, side: str, count: int) -> None:
    of, attributes = traced(side), some_attributes(count)

    def work() -> None:
        for _ in range(TIMES):
            span = of.tracer.start_span("span")
            for key, value in attributes.items():
                span.set_attribute(key, value)
            span.end()

    run(measure, f"start_span, {count} × set_attribute, end", side, work, of.drain)


class ReadEvents(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        _ = span.events


class ReadLinks(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        _ = span.links


@COUNTS
def test_read_events(measure: Measure, side: str, count: int) -> None:
    tracer = provider(ReadEvents(), side=side).get_tracer("bench")

    def work() -> None:
        for _ in range(TIMES):
            span = tracer.start_span("span")
            for _ in range(count):
                span.add_event("loaded", {"app.rows": 17})
            span.end()

    run(measure, f"{some(count, 'event')}, read by a processor", side, work)


@COUNTS
def test_read_links(measure: Measure, side: str, count: int) -> None:
    tracer = provider(ReadLinks(), side=side).get_tracer("bench")

    def work() -> None:
        for _ in range(TIMES):
            span = tracer.start_span("span")
            for _ in range(count):
                span.add_link(ELSEWHERE)
            span.end()

    run(measure, f"{some(count, 'link')}, read by a processor", side, work)


def ended(side: str, count: int) -> ReadableSpan:
    """A span with so many attributes and links, as a processor gets it."""
    keep = Keep()
    tracer = provider(keep, side=side).get_tracer("bench")
    tracer.start_span("span", attributes=some_attributes(count), links=[Link(ELSEWHERE)] * count).end()
    return keep.ended[0]


@COUNTS
def test_bounded_attribute_iterator(measure: Measure, side: str, count: int) -> None:
    span = ended(side, count)

    def work() -> None:
        for _ in range(TIMES):
            list(span.attributes or ())

    run(measure, f"iterate {some(count, 'attribute')} of an ended span", side, work)


@COUNTS
def test_bounded_list_iterator(measure: Measure, side: str, count: int) -> None:
    span = ended(side, count)

    def work() -> None:
        for _ in range(TIMES):
            list(span.links)

    run(measure, f"iterate {some(count, 'link')} of an ended span", side, work)


@pytest.mark.parametrize("count", [0, 1, 10, 50])
def test_simple_start_span_with_tracer_configurator_rules(measure: Measure, side: str, count: int) -> None:
    rules = [(lambda scope: False, _TracerConfig(is_enabled=True))] * count
    configurator = _RuleBasedTracerConfigurator(rules=rules, default_config=_TracerConfig(is_enabled=True))
    of = traced(side, _tracer_configurator=configurator)

    def work() -> None:
        for _ in range(TIMES):
            span = of.tracer.start_span("span", attributes={"long.attribute": -1_000_000_000_100_000_000})
            span.add_event("loaded")
            span.end()

    run(measure, f"start_span, 1 attribute, 1 event, end; {some(count, 'rule')}", side, work, of.drain)
