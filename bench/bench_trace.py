"""What each call of a tracer and its spans costs the thread that makes it.

Every round begins with an empty queue. Attributes, events and links go onto fresh spans, for a key that is
there already is another operation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import _disable_tracer_configurator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from .bench_processor import OfficialBytes, OurBytes
from .conftest import Measure
from .spans import Traced, provider, some_attributes, traced

pytestmark = [
    pytest.mark.benchmark(timer=time.thread_time),
    pytest.mark.parametrize("side", ["SDK", "otlpfast"]),
]

TIMES = 1_000
CALLS = 10  # of one kind on a span

FIVE = some_attributes(5)
TWO: dict[str, Any] = {"app.rows": 17, "app.table": "items"}
ELSEWHERE = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True, TraceFlags(1))
UNSAMPLED = SpanContext(ELSEWHERE.trace_id, ELSEWHERE.span_id, True, TraceFlags(0))


class Rounds:
    """Measures rounds of one side: between two of them, the spans end and the queue is drained."""

    def __init__(self, measure: Measure, side: str, traced: Traced) -> None:
        self.side = side
        self.tracer = traced.tracer
        self._measure = measure
        self._traced = traced

    def calls(self, operation: str, work: Callable[[Any], None], **promises: Any) -> None:
        """``work(tracer)`` does an operation TIMES times."""

        def drain(tracer: Any) -> None:
            self._traced.drain()

        self._run(operation, work, TIMES, lambda: ((self.tracer,), {}), drain, promises)

    def spans(
        self,
        operation: str,
        work: Callable[[list[Any]], None],
        calls: int = CALLS,
        times: int = TIMES,
        **promises: Any,
    ) -> None:
        """``work(spans)`` does an operation ``calls`` times on each of so many spans that it is ``times``."""

        def start() -> Any:
            return ([self.tracer.start_span("span") for _ in range(times // calls)],), {}

        def end(spans: list[Any]) -> None:
            for span in spans:
                span.end()
            self._traced.drain()

        self._run(operation, work, times, start, end, promises)

    def _run(
        self, operation: str, work: Any, times: int, setup: Any, teardown: Any, promises: dict[str, Any]
    ) -> None:
        rounds = 60 if times == TIMES else 30
        self._measure(
            operation, self.side, work, times, setup=setup, teardown=teardown, rounds=rounds, **promises
        )


@pytest.fixture
def rounds(measure: Measure, side: str) -> Rounds:
    return Rounds(measure, side, traced(side))


# --- a span's life


def start_and_end(tracer: Any) -> None:
    for _ in range(TIMES):
        tracer.start_span("span").end()


def test_start_span(rounds: Rounds) -> None:
    rounds.calls("start_span + end", start_and_end, promised=60, at_most=420e-9)


def test_start_span_without_processor(measure: Measure, side: str) -> None:
    operation = "start_span + end (the SDK: without a processor)"
    of = traced(side) if side == "otlpfast" else Traced(provider().get_tracer("bench"), None)
    Rounds(measure, side, of).calls(operation, start_and_end)


@pytest.mark.parametrize("count", [0, 1, 10, 50, 128])
def test_start_span_with_attributes(rounds: Rounds, count: int) -> None:
    attributes = some_attributes(count)

    def work(tracer: Any) -> None:
        for _ in range(TIMES):
            tracer.start_span("span", attributes=attributes).end()

    rounds.calls(f"start_span + end, {count} attribute{'s' * (count != 1)} at start", work)


LONG = {"long.attribute": -1_000_000_000_100_000_000}


def test_simple_start_span(rounds: Rounds) -> None:
    def work(tracer: Any) -> None:
        for _ in range(TIMES):
            span = tracer.start_span("benchmarkedSpan", attributes=LONG)
            span.add_event("benchmarkEvent")
            span.end()

    rounds.calls("start_span, 1 attribute, 1 event, end", work)


def test_simple_start_as_current_span(rounds: Rounds) -> None:
    def work(tracer: Any) -> None:
        for _ in range(TIMES):
            with tracer.start_as_current_span("benchmarkedSpan", attributes=LONG) as span:
                span.add_event("benchmarkEvent")

    rounds.calls("with start_as_current_span, 1 attribute, 1 event", work)


def with_span(tracer: Any) -> None:
    for _ in range(TIMES):
        with tracer.start_as_current_span("span"):
            pass


def test_start_as_current_span_root(rounds: Rounds) -> None:
    rounds.calls("with start_as_current_span, root", with_span, promised=40)


def test_start_as_current_span_child(rounds: Rounds) -> None:
    with rounds.tracer.start_as_current_span("parent"):
        rounds.calls("with start_as_current_span, child", with_span, promised=40)


def usual(tracer: Any) -> None:
    for _ in range(TIMES):
        with tracer.start_as_current_span("GET /items/{number}", kind=SpanKind.SERVER) as span:
            span.set_attribute("http.request.method", "GET")
            span.set_attribute("http.route", "/items/{number}")
            span.set_attribute("http.response.status_code", 200)
            span.set_attribute("app.cache.hit", True)
            span.set_attribute("app.seconds", 0.25)
            span.add_event("loaded", TWO)


def test_usual_span(rounds: Rounds) -> None:
    rounds.calls("with, 5 × set_attribute, add_event", usual)


@pytest.mark.benchmark(timer=time.process_time)  # both threads
def test_usual_span_to_bytes(measure: Measure, side: str) -> None:
    of = traced(side, OurBytes() if side == "otlpfast" else OfficialBytes())

    def work() -> None:
        usual(of.tracer)
        of.drain()

    operation = "the same and force_flush, to bytes"
    measure(operation, side, work, TIMES, setup=lambda: ((), {}), rounds=20)


# --- on a span


VALUES: dict[str, Any] = {
    "str": "GET",
    "int": 200,
    "float": 0.25,
    "bool": True,
    "bytes": b"GET",
    "seq_bool": (True, False, True),
    "seq_int": (1, 2, 3, 4, 5),
    "seq_float": (1.1, 2.2, 3.3),
    "seq_str": ("a", "b", "c", "d", "e"),
    "seq_bytes": (b"a", b"b", b"c"),
}


@pytest.mark.parametrize("kind", VALUES)
def test_set_attribute_types(rounds: Rounds, kind: str) -> None:
    value = VALUES[kind]

    def work(spans: list[Any]) -> None:
        for span in spans:
            span.set_attribute("app.0", value)
            span.set_attribute("app.1", value)
            span.set_attribute("app.2", value)
            span.set_attribute("app.3", value)
            span.set_attribute("app.4", value)
            span.set_attribute("app.5", value)
            span.set_attribute("app.6", value)
            span.set_attribute("app.7", value)
            span.set_attribute("app.8", value)
            span.set_attribute("app.9", value)

    promised = kind in ("str", "int", "float", "bool")
    promises: dict[str, Any] = {"promised": 30, "at_most": 280e-9} if promised else {}
    of = type(value[0]).__name__ if isinstance(value, tuple) else ""
    rounds.spans(f"set_attribute, {f'{len(value)} × {of}' if of else kind}", work, **promises)


def test_set_attribute_again(rounds: Rounds) -> None:
    def work(spans: list[Any]) -> None:
        for span in spans:
            for _ in range(CALLS):
                span.set_attribute("app.key", "value")

    rounds.spans("set_attribute, str, a key that is there", work)


def test_set_attributes(rounds: Rounds) -> None:
    def work(spans: list[Any]) -> None:
        for span in spans:
            span.set_attributes(FIVE)

    rounds.spans("set_attributes, 5", work, calls=1, promised=25, at_most=450e-9)


@pytest.mark.parametrize("count", [0, 2, 10])
def test_add_event(rounds: Rounds, count: int) -> None:
    attributes = {0: None, 2: TWO}.get(count, some_attributes(count))

    def work(spans: list[Any]) -> None:
        for span in spans:
            for _ in range(CALLS):
                span.add_event("loaded", attributes)

    rounds.spans(f"add_event, {count or 'no'} attributes", work, promised=20 if count == 2 else None)


@pytest.mark.parametrize("count", [0, 2])
def test_add_link(rounds: Rounds, count: int) -> None:
    attributes = TWO if count else None

    def work(spans: list[Any]) -> None:
        for span in spans:
            for _ in range(CALLS):
                span.add_link(ELSEWHERE, attributes)

    rounds.spans(f"add_link, {count or 'no'} attributes", work)


def test_start_span_with_links(rounds: Rounds) -> None:
    links = [Link(ELSEWHERE, TWO), Link(UNSAMPLED)]

    def work(tracer: Any) -> None:
        for _ in range(TIMES):
            tracer.start_span("span", links=links).end()

    rounds.calls("start_span + end, 2 links at start", work, promised=10)


def first() -> None:
    second()


def second() -> None:
    third()


def third() -> None:
    fourth()


def fourth() -> None:
    fifth()


def fifth() -> None:
    sixth()


def sixth() -> None:
    raise ValueError("no such item")


def test_record_exception(rounds: Rounds) -> None:
    try:
        first()
    except ValueError as caught:
        error = caught.with_traceback(caught.__traceback__ and caught.__traceback__.tb_next)

    def work(spans: list[Any]) -> None:
        for span in spans:
            for _ in range(CALLS):
                span.record_exception(error)

    rounds.spans("record_exception, 6 frames", work, times=100, promised=10)


def test_update_name(rounds: Rounds) -> None:
    def work(spans: list[Any]) -> None:
        for span in spans:
            for _ in range(CALLS):
                span.update_name("another name")

    rounds.spans("update_name", work)


def test_set_status(rounds: Rounds) -> None:
    failed = Status(StatusCode.ERROR, "no such item")

    def work(spans: list[Any]) -> None:
        for span in spans:
            for _ in range(CALLS):
                span.set_status(failed)

    rounds.spans("set_status", work)


def test_get_span_context(rounds: Rounds) -> None:
    def work(spans: list[Any]) -> None:
        for span in spans:
            for _ in range(CALLS):
                span.get_span_context()

    rounds.spans("get_span_context", work)


# --- spans that are not recorded


def test_sampled_out_root(measure: Measure, side: str) -> None:
    operation = "with start_as_current_span, sampled out, root"
    Rounds(measure, side, traced(side, sampler=ALWAYS_OFF)).calls(operation, with_span, promised=13)


def test_sampled_out_elsewhere(measure: Measure, side: str) -> None:
    of = traced(side, sampler=ParentBased(ALWAYS_ON))
    with trace.use_span(NonRecordingSpan(UNSAMPLED)):
        operation = "with start_as_current_span, sampled out elsewhere"
        Rounds(measure, side, of).calls(operation, with_span, promised=13)


def test_disabled_scope(measure: Measure, side: str) -> None:
    of = traced(side, _tracer_configurator=_disable_tracer_configurator)
    Rounds(measure, side, of).calls("start_span + end, scope disabled", start_and_end)


# --- the current span


@pytest.fixture
def current(rounds: Rounds) -> Iterator[Any]:
    with rounds.tracer.start_as_current_span("current") as span:
        yield span


def test_get_current_span(rounds: Rounds, current: Any) -> None:
    def work(tracer: Any) -> None:
        get_current_span = trace.get_current_span
        for _ in range(TIMES):
            get_current_span()

    rounds.calls("get_current_span (the API's, both)", work)


def test_attach_and_detach(rounds: Rounds, current: Any) -> None:
    here = trace.set_span_in_context(current)

    def work(tracer: Any) -> None:
        attach, detach = context.attach, context.detach
        for _ in range(TIMES):
            detach(attach(here))

    rounds.calls("attach + detach (the API's, both)", work)
