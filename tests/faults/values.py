"""Values and fields of spans that raise, hold themselves, change or can't be encoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.trace import StatusCode

from tests.collector import Collector
from tests.faults import Outcome, Pipeline, fault
from tests.faults.hostile import raised, said_nothing
from tests.faults.traced import Traced

SURROGATE = "lone \ud800 surrogate"


def attribute(collector: Collector, name: str, key: str) -> Any:
    """The value of an attribute of the span of that name; None where one of the two did not arrive."""
    for span in collector.accepted:
        for pair in span.attributes:
            if span.name == name and pair.key == key:
                return pair.value
    return None


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


def cycle() -> list[Any]:
    endless: list[Any] = [1]
    endless.append({"again": endless})
    return endless


VALUES: dict[str, Callable[[], Any]] = {
    "unprintable": Unprintable,
    "cycle": cycle,
    "large": lambda: 1 << 70,
}


def sets_a_value(traced: Traced, endpoint: str, which: str) -> Any:
    tracer = traced.to(endpoint)
    value = VALUES[which]()
    found = None
    for name in ("bad", "good"):
        with tracer.start_as_current_span(name) as span:
            if name == "bad":
                found = raised(lambda span=span: span.set_attribute("value", value))
            span.set_attribute("other", "text")
    flushed = traced.flush()
    return {"raised": found, "flushed": flushed, "stats": traced.stats()}


def _value(pipeline: Pipeline, which: str, expected: Callable[[Any], bool], shown: str) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        ended = pipeline.run(sets_a_value, collector.endpoint, which)
        delivered, value = len(collector.accepted), attribute(collector, "bad", "value")
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 2)
        said_nothing(outcome, ended.value["raised"])
        kept = value is not None and expected(value)
        outcome.say(f"the value is {shown if kept else '**lost**'}")
        outcome.promise(kept, f"the value is {shown}: {value}")
        outcome.account(ended.value["stats"], exported=2)
    return outcome


@fault("21", "`__str__` of a value raises", "a placeholder; nothing is raised")
def unprintable_value(pipeline: Pipeline) -> Outcome:
    return _value(pipeline, "unprintable", lambda value: "Unprintable" in value.string_value, "a placeholder")


@fault("22", "container that holds itself", "cut where it does; nothing is raised")
def cyclic_value(pipeline: Pipeline) -> Outcome:
    return _value(pipeline, "cycle", lambda value: value.array_value.values[0].int_value == 1, "cut")


@fault("26", "int beyond 64 bits", "its text")
def large_number(pipeline: Pipeline) -> Outcome:
    return _value(pipeline, "large", lambda value: value.string_value == str(1 << 70), "its text")


def changes_a_value(traced: Traced, endpoint: str) -> Any:
    tracer = traced.to(endpoint)
    value = ["as it was"]
    with tracer.start_as_current_span("changed") as span:
        span.set_attribute("value", value)
        value[0] = "as it is now"
    flushed = traced.flush()
    return {"flushed": flushed, "stats": traced.stats()}


@fault("23", "a value is changed after it was set", "what arrives is what was set")
def changed_value(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        ended = pipeline.run(changes_a_value, collector.endpoint)
        value = attribute(collector, "changed", "value")
    if outcome.ended_well(ended):
        kept = value is not None and value.array_value.values[0].string_value == "as it was"
        outcome.say("the value as it was" if kept else "**the value as it is now**")
        outcome.promise(kept, f"the value as it was: {value}")
    return outcome


def has_surrogates(traced: Traced, endpoint: str) -> Any:
    tracer = traced.to(endpoint)
    traced.end_spans(10)
    with tracer.start_as_current_span(f"{SURROGATE} as name"):
        pass
    with tracer.start_as_current_span("event") as span:
        span.add_event(SURROGATE)
    with tracer.start_as_current_span("status") as span:
        span.set_status(StatusCode.ERROR, SURROGATE)
    with tracer.start_as_current_span("exception") as span:
        span.record_exception(ValueError(SURROGATE))
    flushed = traced.flush()
    return {"flushed": flushed, "stats": traced.stats()}


@fault("24", "lone surrogate in a name, an event, a status, an exception", "U+FFFD in its place")
def surrogates(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        ended = pipeline.run(has_surrogates, collector.endpoint)
        names = [span.name for span in collector.accepted]
    if outcome.ended_well(ended):
        outcome.delivery(len(names), 14)
        outcome.promise("lone \ufffd surrogate as name" in names, f"U+FFFD in its place: {names}")
        outcome.account(ended.value["stats"], exported=14)
    return outcome


def has_wrong_fields(traced: Traced, endpoint: str) -> Any:
    tracer = traced.to(endpoint)
    traced.end_spans(10)
    found = [
        raised(lambda: tracer.start_span("negative", start_time=-1).end()),
        raised(lambda: tracer.start_span("float", start_time=1.5).end()),
        raised(lambda: tracer.start_span("kind", kind="server").end()),
    ]
    flushed = traced.flush()
    return {"raised": next(filter(None, found), None), "flushed": flushed, "stats": traced.stats()}


@fault("25", "negative or float `start_time`, a kind that is none", "repaired, or that one span is dropped")
def wrong_fields(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        ended = pipeline.run(has_wrong_fields, collector.endpoint)
        names = [span.name for span in collector.accepted]
    if outcome.ended_well(ended):
        outcome.delivery(len(names), 13, all_of_them=False)
        good = [name for name in names if name.startswith("span")]
        outcome.promise(len(good) == 10, "all other spans are delivered")
        said_nothing(outcome, ended.value["raised"])
        outcome.account(ended.value["stats"], exported=len(names))
    return outcome
