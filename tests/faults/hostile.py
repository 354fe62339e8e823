"""What applications do to spans: calls from where one does not expect them, and after the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

from tests.collector import Collector
from tests.faults import Outcome, Pipeline, counted, fault
from tests.faults.traced import Traced


def raised(work: Callable[[], object]) -> str | None:
    """The name of what it raises into the application."""
    try:
        work()
    except BaseException as error:
        return type(error).__name__
    return None


def said_nothing(outcome: Outcome, found: str | None) -> None:
    if found:
        outcome.say(f"**raises {found}** into the application")
    outcome.promise(found is None, "nothing is raised into the application")


# --- 20


class EndsSpansWhenItDies:
    """Globals of a module die after the provider was shut down."""

    def __init__(self, traced: Traced) -> None:
        self.traced = traced

    def __del__(self) -> None:
        self.traced.end_spans(3, "from a finaliser")


_kept: list[EndsSpansWhenItDies] = []


def ends_spans_after_shutdown(traced: Traced, endpoint: str) -> Any:
    traced.to(endpoint)
    traced.end_spans(7)
    traced.provider.shutdown()
    found = raised(lambda: traced.end_spans(3, "after"))
    _kept.append(EndsSpansWhenItDies(traced))
    return {"raised": found, "stats": traced.stats()}


@fault("20", "spans after `shutdown()`, and in `__del__` at exit", "no crash, and they are counted")
def after_shutdown(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        ended = pipeline.run(ends_spans_after_shutdown, collector.endpoint)
        delivered = len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 10, all_of_them=False)
        outcome.promise("Traceback" not in ended.log, "no traceback")
        said_nothing(outcome, ended.value["raised"])
        outcome.account(ended.value["stats"], exported=7, shutdown=3)
    return outcome


# --- 27, 28, 29: calls from where one does not expect them


class Touching(logging.Handler):
    """A log handler that adds to the current span, as some that correlate logs do."""

    def emit(self, record: logging.LogRecord) -> None:
        span = trace.get_current_span()
        span.set_attribute("logged", record.levelname)
        span.add_event("log")


class Speaking:
    """Its text is made by code that is traced too."""

    def __str__(self) -> str:
        trace.get_current_span().set_attribute("spoke", True)
        return "spoken"

    __repr__ = __str__


def logs_into_the_span(traced: Traced, endpoint: str) -> Any:
    tracer = traced.to(endpoint)
    logging.getLogger().addHandler(Touching())
    with tracer.start_as_current_span("touched") as span:
        for number in range(200):  # the SDK logs each beyond the 128th
            span.set_attribute(f"key {number}", Speaking())
        logging.getLogger("application").error("an error")
    flushed = traced.flush()
    return {"flushed": flushed, "stats": traced.stats()}


@fault("27", "log handler or `__str__` touches the current span", "no deadlock")
def reentrant_log(pipeline: Pipeline) -> Outcome:
    return _reentrant(pipeline, logs_into_the_span)


def _reentrant(pipeline: Pipeline, work: Callable[..., Any]) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        ended = pipeline.run(work, collector.endpoint, limit=25)
        delivered = len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, ended.value.get("ended", 1))
        if "calls" in ended.value:
            outcome.say(f"{ended.value['calls']:,} calls from there")
            outcome.promise(ended.value["calls"] > 50, "it was called from there")
        outcome.promise("Traceback" not in ended.log, f"no traceback: {ended.log}")
    return outcome


class Garbage:
    """Garbage that the collector of cycles finds, whenever it likes, and whose finaliser touches the span."""

    finalised = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Garbage.finalised += 1
        span = trace.get_current_span()
        span.set_attribute("finalised", Garbage.finalised)
        span.add_event("finalised")


def has_finalisers(traced: Traced, endpoint: str) -> Any:
    tracer = traced.to(endpoint)
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
    logging.getLogger("opentelemetry").propagate = False
    gc.set_threshold(7, 1, 1)
    deadline, turns = time.monotonic() + 10, 0
    while Garbage.finalised < 2_000 and time.monotonic() < deadline:
        turns += 1
        with tracer.start_as_current_span("finalised") as span:
            for number in range(150):
                Garbage()
                span.set_attribute(f"key {number}", [number])
                span.add_event("event")
    gc.set_threshold(700, 10, 10)
    flushed = traced.flush()
    return {"flushed": flushed, "ended": turns, "calls": Garbage.finalised, "stats": traced.stats()}


@fault("28", "finaliser run by the garbage collector touches a span", "no deadlock")
def reentrant_finaliser(pipeline: Pipeline) -> Outcome:
    return _reentrant(pipeline, has_finalisers)


def has_signal_handlers(traced: Traced, endpoint: str) -> Any:
    tracer, calls, inside = traced.to(endpoint), 0, False

    def handle(*_: object) -> None:
        nonlocal calls, inside
        if inside:  # slower than the signals come
            return
        inside, calls = True, calls + 1
        span = trace.get_current_span()
        span.set_attribute("signal", calls)
        span.add_event("signal")
        if calls % 20 == 0:
            traced.flush(1000)
        inside = False

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    deadline, turns = time.monotonic() + 10, 0
    try:
        while calls < 300 and time.monotonic() < deadline:
            turns += 1
            with tracer.start_as_current_span("interrupted") as span:
                for number in range(50):
                    span.set_attribute(f"key {number}", [number])
                    span.add_event("event")
            if turns % 10 == 0:
                traced.flush(1000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    flushed = traced.flush()
    return {"flushed": flushed, "ended": turns, "calls": calls, "stats": traced.stats()}


@fault("29", "signal handler sets an attribute, or flushes", "no deadlock")
def reentrant_signal(pipeline: Pipeline) -> Outcome:
    return _reentrant(pipeline, has_signal_handlers)


# --- 31, 36


def cancels(traced: Traced, endpoint: str) -> Any:
    tracer = traced.to(endpoint)

    async def waits() -> None:
        with tracer.start_as_current_span("cancelled"):
            await asyncio.Event().wait()

    async def yields() -> Any:
        with tracer.start_as_current_span("generator"):
            yield 1
            yield 2

    async def main() -> None:
        tasks = [asyncio.create_task(waits()) for _ in range(10)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(10):
            generator = yields()
            await generator.__anext__()
            await asyncio.create_task(_close(generator))

    asyncio.run(main())
    flushed = traced.flush()
    return {"flushed": flushed, "stats": traced.stats()}


async def _close(generator: Any) -> None:
    await generator.aclose()


@fault("31", "asyncio cancels a task; an async generator is closed by another task", "delivered")
def cancelled(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        ended = pipeline.run(cancels, collector.endpoint)
        delivered = len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 20)
        outcome.say(f"{counted(len(ended.logged), 'line')} of log")
        outcome.account(ended.value["stats"], exported=20)
    return outcome


class Raising(SpanProcessor):
    def on_start(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("on_start")

    def on_end(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("on_end")


def has_a_raising_processor(traced: Traced, endpoint: str) -> Any:
    tracer = traced.to(endpoint, processors=(Raising(),))
    found = [raised(lambda: tracer.start_span("span").end()) for _ in range(10)]
    flushed = traced.flush()
    return {"raised": found[0], "flushed": flushed, "stats": traced.stats()}


@fault("36", "a span processor raises", "the others get their spans, the application does not notice")
def raising_processor(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        ended = pipeline.run(has_a_raising_processor, collector.endpoint)
        delivered = len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 10)
        said_nothing(outcome, ended.value["raised"])
        outcome.account(ended.value["stats"], exported=10)
    return outcome
