"""Code that touches the current span in the middle of anything: nothing hangs, raises, is lost or is torn."""

from __future__ import annotations

import gc
import logging
import signal
import warnings
from typing import Any

import pytest
from opentelemetry import context as otel
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import StatusCode, Tracer, get_current_span

from otlpfast import IMPLEMENTATION

from .pipeline import SANITIZED, account, ran
from .touching import ELSEWHERE, Pipeline, Touch, check_whole, operations, plain, turn

SCALE = 1 if SANITIZED or IMPLEMENTATION == "py" else 3
ENDS = pytest.mark.parametrize("ends", [False, True])


# --- signals


def interrupted(ends: bool, wanted: int) -> dict[str, int]:
    line = Pipeline(ends)
    does = operations(line.tracer, plain)
    signal.signal(signal.SIGALRM, line.touch)
    line.touch.armed = True
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    while line.touch.count < wanted:
        turn(line.tracer, does)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return line.check(wanted)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@ENDS
def test_a_signal_handler_that_touches_the_current_span(ends: bool) -> None:
    ran(interrupted, ends, 1000 * SCALE)


class Alarm(BaseException):
    pass


def broken_off(wanted: int) -> dict[str, int]:
    """The handler raises, as one that guards against a call that takes too long does."""
    warnings.simplefilter("ignore", ResourceWarning)  # of the source of a traceback, just opened by tokenize
    line = Pipeline()
    does = operations(line.tracer, plain)
    raised = 0

    def handle(*_: object) -> None:
        raise Alarm

    signal.signal(signal.SIGALRM, handle)
    empty = otel.get_current()
    while raised < wanted:
        token = otel.attach(empty)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0001 + raised % 100 * 0.00001)
            for _ in range(1000):
                turn(line.tracer, does)
        except Alarm:
            raised += 1
        otel.detach(token)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert get_current_span().get_span_context().span_id == 0
    received = len(line.exporter.spans)
    turn(line.tracer, does)
    line.processor.force_flush()
    spans = line.exporter.spans
    check_whole(spans)
    assert len(spans) >= received + 4
    stats = line.processor.stats()
    if IMPLEMENTATION == "c":  # in Python, an exception may come between any two steps of the account
        assert stats == account(stats["ended"], exported=len(spans), **stats["dropped"])
        assert set(stats["dropped"]) <= {"encode_error"}  # one that was just being encoded
    return {"spans": len(spans)}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_a_signal_handler_that_raises_leaves_everything_in_order() -> None:
    assert ran(broken_off, 500 * SCALE)["spans"] > 0


# --- finalisers


def finalised_by_gc(ends: bool) -> dict[str, int]:
    """The garbage collector runs as often as it can: in every allocation of a container, wherever that is."""

    class Cyclic:
        def __init__(self) -> None:
            self.own = self

        def __del__(self) -> None:
            line.touch()

    line = Pipeline(ends)
    does = operations(line.tracer, plain)
    line.touch.armed = True
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    for _ in range(10 * SCALE):
        with line.tracer.start_as_current_span("operation") as span:
            for do in does.values():
                Cyclic()
                do(span)
    gc.set_threshold(*threshold)
    gc.collect()
    return line.check(100 * SCALE)


@ENDS
def test_a_finaliser_run_by_the_garbage_collector(ends: bool) -> None:
    ran(finalised_by_gc, ends)


class Dying(str):
    """Text that touches the current span when it dies, in whatever it has been put."""

    touch: Any

    def __del__(self) -> None:
        type(self).touch()


def finalised_values(ends: bool) -> dict[str, int]:
    """The last reference is the span's own: values that are replaced, evicted, refused or freed with it."""
    line = Pipeline(ends)
    Dying.touch = line.touch
    line.touch.armed = True

    def dying() -> dict[str, Any]:
        return {f"key {n}": Dying(n) for n in range(5)} | {"list": [Dying("a")], "map": {"b": Dying("c")}}

    does = operations(line.tracer, dying)
    for _ in range(2 * SCALE):
        turn(line.tracer, does)
        with line.tracer.start_as_current_span("operation") as span:
            for number in range(200):  # more than there is room for
                span.set_attribute(f"full {number}", Dying("evicted"))
                span.add_event("event", {"text": Dying("evicted")})
                span.add_link(ELSEWHERE, {"text": Dying("evicted")})
            span.set_attributes({f"over {number}": Dying("evicted") for number in range(200)})
            span.update_name(Dying("name"))
            span.update_name(Dying("operation"))
            span.set_status(StatusCode.ERROR, Dying("first"))
            span.set_status(StatusCode.ERROR, Dying("second"))
            span.own = Dying("own")  # type: ignore[attr-defined]
    return line.check(1000 * SCALE)


@ENDS
def test_a_finaliser_of_a_value_that_only_the_span_has(ends: bool) -> None:
    ran(finalised_values, ends)


def finalised_contexts(ends: bool) -> dict[str, int]:
    """The last reference is that of a Context, which goes when its block is left."""
    line = Pipeline(ends)
    Dying.touch = line.touch
    line.touch.armed = True
    for number in range(100 * SCALE):
        token = otel.attach(otel.set_value("outer", Dying("outer")))
        with line.tracer.start_as_current_span("operation"):
            inner = otel.attach(otel.set_value("inner", Dying("inner")))
            with line.tracer.start_as_current_span("operation"):
                if number % 2:
                    otel.detach(inner)
            if not number % 2:
                otel.detach(inner)
        otel.detach(token)
    return line.check(195 * SCALE)


@ENDS
def test_a_finaliser_of_a_value_that_only_a_context_has(ends: bool) -> None:
    ran(finalised_contexts, ends)


def finalised_spans() -> dict[str, int]:
    """A span that dies has things of its own that die with it, and that know it."""
    line = Pipeline()
    line.touch.armed = True
    back: list[Any] = []

    class Last:
        def __init__(self, span: Any, returns: bool) -> None:
            self.span, self.returns = span, returns

        def __del__(self) -> None:
            line.touch()
            self.span.set_attribute("late", 1)
            self.span.end()
            if self.returns:
                back.append(self.span)  # it lives again

    for number in range(300 * SCALE):
        span: Any = line.tracer.start_span("operation", attributes=plain())
        span.own = Last(span, number % 3 == 0)
        if number % 2:
            span.end()
        del span
        if number % 50 == 0:
            gc.collect()
    gc.collect()
    assert len(back) == 100 * SCALE
    for span in back:
        assert span.name == "operation" and dict(span.attributes)["text"] == "text"
        span.own = None
        span.set_attribute("ended", 1)
    return line.check(200 * SCALE)


def test_a_span_that_is_brought_back_by_its_finaliser() -> None:
    assert ran(finalised_spans)["spans"] > 0


# --- log handlers


class Handler(logging.Handler):
    def __init__(self, touch: Touch) -> None:
        super().__init__()
        self.touch = touch

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()
        self.touch()


WRONG: list[dict[Any, Any]] = [
    {"": 1},
    {1: 2},
    {None: object()},
    {"object": object()},
    {"set": {1, 2}},
    {"map": {1: {"": None}}},
    {"long": "x" * 100},
    {f"key {number}": number for number in range(200)},
]


def logged(ends: bool) -> dict[str, int]:
    line = Pipeline(
        ends,
        span_limits=SpanLimits(max_attribute_length=50),
    )
    for name in ("opentelemetry", "otlpfast"):
        logging.getLogger(name).addHandler(Handler(line.touch))
    line.touch.armed = True
    for _ in range(SCALE):
        for wrong in WRONG:
            turn(line.tracer, operations(line.tracer, lambda wrong=wrong: dict(wrong)))  # type: ignore[misc]
        with line.tracer.start_as_current_span("operation") as span:
            misuse(line.tracer, span)
        misuse(line.tracer, span)
    return line.check(500 * SCALE)


def misuse(tracer: Tracer, span: Any) -> None:
    """Wrong arguments, each of which is logged by somebody."""
    span.set_attributes(5)
    span.set_attribute(5, 5)
    span.add_event("event", 5)
    span.add_link(5)
    span.add_link(ELSEWHERE, 5)
    span.record_exception(5)
    span.set_status(span.status, "ignored")
    tracer.start_span("child", attributes=5, links=5).end()  # type: ignore[arg-type]
    tracer.start_span("child", links=[5, None]).end()  # type: ignore[list-item]
    span.start()
    other = tracer.start_span("child")
    other.end()
    other.end()


@ENDS
def test_a_log_handler_that_touches_the_current_span(ends: bool) -> None:
    ran(logged, ends)
