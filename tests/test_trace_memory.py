"""Memory on otlpfast's provider: what spans cost that wait or live, and that nothing is left of them."""

from __future__ import annotations

import copy
import gc
import sys
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, Status, StatusCode, Tracer, set_span_in_context

from otlpfast import IMPLEMENTATION

from .pipeline import Encoded, account, ran
from .test_memory import Counting, allocated, compiled, measures, resident
from .touching import ELSEWHERE, hush
from .traced import native, roomy

ATTRIBUTES = {f"attribute.key.{number:06d}": f"attribute value {number}" for number in range(10)}


def end_some(tracer: Tracer, count: int) -> None:
    for number in range(count):
        with tracer.start_as_current_span("operation", attributes=ATTRIBUTES) as span:
            span.set_attribute("number", number)
            span.add_event("event", {"number": number, "text": "x"})


# --- spans that wait


def waiting() -> tuple[Tracer, Any]:
    """A tracer, and a processor that has exported its first spans and makes no batch of the next ones."""
    processor = roomy(Counting(), max_export_batch_size=10_000_000)
    tracer = native(processor).get_tracer("tests")
    end_some(tracer, 500)
    assert processor.force_flush()
    return tracer, processor


@compiled
def test_100_000_spans_that_wait_are_no_objects_for_the_garbage_collector() -> None:
    tracer, processor = waiting()
    gc.collect()
    before = len(gc.get_objects())
    end_some(tracer, 100_000)
    assert len(gc.get_objects()) - before < 100  # a collection of the oldest generation visits all of these
    assert processor.stats() == account(100_500, exported=500, queued=100_000)
    processor.shutdown()


def cost_of_waiting(count: int) -> float:
    """Bytes of memory for each byte of encoded spans that wait."""
    tracer, processor = waiting()
    before = resident()
    end_some(tracer, count)
    cost = (resident() - before) / processor._queue.nbytes
    assert processor.stats()["queued"] == count
    processor.shutdown()
    return float(cost)


@compiled
@measures
def test_a_waiting_span_costs_its_encoded_size_and_a_tenth() -> None:
    assert ran(cost_of_waiting, 100_000) <= 1.10


# --- spans that live


@compiled
def test_a_live_span_is_one_object_for_the_garbage_collector() -> None:
    tracer = native().get_tracer("tests")
    kept: list[Any] = [None] * 5000
    end_some(tracer, 100)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(5000):
        kept[number] = tracer.start_span("operation", attributes=ATTRIBUTES)
        kept[number].add_event("event", {"a": 1})
    assert len(gc.get_objects()) - before < 5100


def a_bit_of_everything(tracer: Tracer, unsampled: Tracer) -> None:
    """Each way to make, fill, read, end and drop a span."""
    with tracer.start_as_current_span(
        "outer", attributes=ATTRIBUTES, links=[Link(ELSEWHERE, {"a": 1})]
    ) as outer:
        fill(outer)
        with tracer.start_as_current_span("inner") as inner:
            inner.set_attribute("text", "x" * 300)
            inner.add_event("event")
        with unsampled.start_as_current_span("unsampled") as dropped:
            dropped.set_attribute("a", 1)
        try:
            with tracer.start_as_current_span("fails", set_span_in_context(outer)):
                raise ValueError("failed")
        except ValueError:
            pass
    read: Any = tracer.start_span("read", attributes={"a": 1, "b": [1, 2]})
    read.add_event("event", {"a": 1})
    assert dict(read.attributes) and read.events and not read.links and read.get_span_context().is_valid
    fill(read)
    read.own = read, copy.copy(read)
    read.end()
    fill(tracer.start_span("never ended"))
    tracer.start_span("ended late", start_time=5).end(10)
    decorated(tracer)()


def decorated(tracer: Tracer) -> Callable[[], None]:
    @tracer.start_as_current_span("decorated")
    def work() -> None:
        return None

    return work


def fill(span: Any) -> None:
    for number in range(20):
        span.set_attribute(f"number {number % 15}", number)
        span.set_attribute(f"text {number % 15}", f"value {number}")
    span.set_attributes({"list": [1, "b", 2.5], "map": {"a": {"b": None}}, "big": 2**70, "object": object()})
    span.set_attributes({"bytes": b"x" * 50, "float": 1.5, "flag": True, "": 1, "text 1": "again"})
    span.set_attribute(5, 5)
    for number in range(8):
        span.add_event("event", {"number": number, "list": [number]}, number)
        span.add_event(f"event {number}", None, 2**70)
    span.add_link(ELSEWHERE, {"a": [1]})
    span.update_name("renamed")
    span.set_status(StatusCode.ERROR, "description")
    span.set_status(Status(StatusCode.OK))
    span.record_exception(KeyError("key"), {"a": 1})


def grown(rounds: int) -> tuple[float, float]:
    """By how many bytes and allocated blocks a round the memory grew, in the best third of so many.

    Pools fill as deep as the export thread falls behind, at any time; a leak grows in every third.
    """
    hush()
    processor = roomy(Counting(), max_export_batch_size=100)
    limits = SpanLimits(max_span_attributes=25, max_events=10, max_links=2, max_event_attributes=3)
    tracer = native(processor, span_limits=limits).get_tracer("tests")
    unsampled = native(sampler=ALWAYS_OFF).get_tracer("tests")

    def through() -> None:
        for number in range(rounds // 3):
            a_bit_of_everything(tracer, unsampled)
            if number % 50 == 0:
                assert processor.force_flush()
        assert processor.force_flush()
        gc.collect()

    through()
    memory, blocks = [allocated()], [sys.getallocatedblocks()]
    for _ in range(3):
        through()
        blocks.append(sys.getallocatedblocks())
        memory.append(allocated())
    stats = processor.stats()
    assert stats == account(stats["ended"], exported=stats["ended"])
    return least_growth(memory) / (rounds / 3), least_growth(blocks) / (rounds / 3)


def least_growth(sizes: list[int]) -> int:
    return min(after - before for before, after in pairwise(sizes))


@measures
def test_hundreds_of_thousands_of_operations_leave_nothing_behind() -> None:
    # A round is 9 spans and 200 operations; the smallest memory of a span is 192 bytes.
    memory, blocks = ran(grown, 6000 if IMPLEMENTATION == "c" else 600, patience=100)
    assert memory < (96 if IMPLEMENTATION == "c" else 400)
    assert blocks < 0.1


def test_no_reference_is_left_behind() -> None:
    hush()
    processor = roomy(Counting())
    resource = Resource({"of": "the tests"})
    tracer = native(processor, resource=resource).get_tracer("a scope of its own")
    watched: list[Any] = [
        "a key of its own",
        "a value of its own",
        ("in", "a", "tuple"),
        ["in", "a", "list"],
        {"in": "a map"},
        b"some bytes of its own",
        2**80,
        2**40 + 1,
        1.25,
        "a name of its own",
        "an event of its own",
        2**61,
        Link(ELSEWHERE, {"of": "a link"}),
        Status(StatusCode.ERROR, "of its own"),
        ValueError("of its own"),
        resource,
        ELSEWHERE,
    ]
    key, *values = watched[:9]
    name, event, time, link, status, error = watched[9:15]

    def through() -> None:
        given = {f"{key} {number}": value for number, value in enumerate(values)} | {key: values[0]}
        with tracer.start_as_current_span(name, attributes=given, links=[link], start_time=time) as span:
            for value in values:
                span.set_attribute(key, value)
                span.add_event(event, {key: value}, time)
            span.set_attributes(given)
            span.add_link(ELSEWHERE, given)
            span.update_name(name)
            span.set_status(status)
            span.record_exception(error, given)
            span.own = name  # type: ignore[attr-defined]
        read: Any = tracer.start_span(name, attributes=given)
        assert read.attributes[key] and not read.events
        read.end(time)
        assert processor.force_flush()
        gc.collect()

    for _ in range(3):
        through()
    before = [sys.getrefcount(each) for each in watched]
    for _ in range(20):
        through()
    after = [sys.getrefcount(each) for each in watched]
    pairs = zip(watched, before, after, strict=True)
    assert [(each, was, now) for each, was, now in pairs if abs(now - was) >= 20] == []
    processor.shutdown()


# --- spans that are gone


class Text(str):
    pass


class Number(int):
    pass


class Real(float):
    pass


class Octets(bytes):
    pass


class Named:
    def __str__(self) -> str:
        return "named"


def refers(value: Any, span: Any) -> Any:
    value.span = span
    return value


def raise_and_record(span: Any) -> None:
    try:
        raise refers(KeyError("key"), span)
    except KeyError as error:
        span.record_exception(error)


def read_everything(span: Any) -> None:
    span.own = span, span.attributes, span.events, span.links, span._readable_span(), span.get_span_context()


def owned(span: Any) -> BoundedAttributes:
    return BoundedAttributes(None, {"key": refers(Text("x"), span)}, immutable=False)


CYCLES: dict[str, Callable[[Any], object]] = {
    "nothing": lambda span: None,
    "own": lambda span: setattr(span, "own", span),
    "everything that can be read": read_everything,
    "a text": lambda span: span.set_attribute("key", refers(Text("x"), span)),
    "a number": lambda span: span.set_attribute("key", refers(Number(5), span)),
    "a float": lambda span: span.set_attribute("key", refers(Real(1.5), span)),
    "bytes": lambda span: span.set_attribute("key", refers(Octets(b"x"), span)),
    "a text in a list": lambda span: span.set_attribute("key", [refers(Text("x"), span)]),
    "a float in a list": lambda span: span.set_attribute("key", [refers(Real(1.5), span)]),
    "bytes in a map": lambda span: span.set_attribute("key", {"a": refers(Octets(b"x"), span)}),
    "a key": lambda span: span.set_attribute(refers(Text("key"), span), 1),
    "attributes": lambda span: span.set_attributes({refers(Text("key"), span): refers(Real(1.5), span)}),
    "an event's attribute": lambda span: span.add_event("event", {"key": refers(Octets(b"x"), span)}),
    "an event's name": lambda span: span.add_event(refers(Text("event"), span)),
    "an event's odd name": lambda span: span.add_event(refers(Named(), span)),
    "an event's time": lambda span: span.add_event("event", None, refers(Number(5), span)),
    "a link's attribute": lambda span: span.add_link(ELSEWHERE, {"key": refers(Text("x"), span)}),
    "the name": lambda span: span.update_name(refers(Text("name"), span)),
    "the status": lambda span: span.set_status(refers(Status(StatusCode.ERROR, "x"), span)),
    "an exception": raise_and_record,
    "the end": lambda span: span.end(refers(Number(5), span)),
    "a context": lambda span: setattr(span, "context_of", set_span_in_context(span)),
    "a copy": lambda span: setattr(span, "copied", refers(copy.copy(span), span)),
    "a resource": lambda span: setattr(span, "_resource", refers(Resource({}), span)),
    "attributes of its own": lambda span: setattr(span, "_attributes", owned(span)),
    "events of its own": lambda span: setattr(span, "_events", [span]),
}


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("cycle", CYCLES)
def test_a_span_that_refers_to_itself_is_collected(cycle: str, ends: bool) -> None:
    span = native().get_tracer("tests").start_span("span", attributes={"a": 1})
    span.add_event("event", {"b": [1]})
    CYCLES[cycle](span)
    if ends:
        span.end()
    seen: list[Any] = []
    watching = weakref.ref(span, seen.append)
    del span
    gc.collect()
    assert watching() is None
    assert seen == [watching]


def test_spans_that_refer_to_each_other_are_collected() -> None:
    tracer = native().get_tracer("tests")
    spans: list[Any] = [tracer.start_span("span") for _ in range(1000)]
    for one, other in zip(spans, [*spans[1:], spans[0]], strict=True):
        one.other = other
        one.set_attribute("other", refers(Real(1.5), other))
    watching = [weakref.ref(span) for span in spans]
    spans.clear()
    del one, other
    gc.collect()
    assert [each() for each in watching if each() is not None] == []


@compiled
def test_a_chain_of_spans_dies_without_exhausting_the_stack() -> None:
    tracer = native().get_tracer("tests")
    for give in (keep_as_own, keep_in_attribute):
        last: Any = None
        for _ in range(100_000):
            span: Any = tracer.start_span("span")
            give(span, last)
            last = span
        watching = weakref.ref(last)
        del last, span
        gc.collect()
        assert watching() is None


def keep_as_own(span: Any, last: Any) -> None:
    span.last = last


def keep_in_attribute(span: Any, last: Any) -> None:
    span.set_attribute("last", [refers(Octets(b"x"), last)])


def fill_with_secrets(span: Any, number: int) -> None:
    secret = f"secret {number}"
    for many in range(number % 140):
        span.set_attribute(f"{secret} {many}", secret)
        span.add_event(secret, {secret: secret, "list": [secret]})
    span.set_attributes({f"{secret} {many}": [secret] for many in range(number % 30)})
    span.update_name(secret)
    if number % 3 == 0:
        assert len(span.attributes) == len(span._attributes) and len(span.events) == len(span._events)


def test_memory_that_is_used_again_shows_nothing_of_what_was_in_it() -> None:
    hush()
    exporter = Encoded()
    processor = roomy(exporter)
    tracer, elsewhere = native(processor).get_tracer("tests"), native().get_tracer("tests")
    for number in range(400):
        old = elsewhere.start_span("old")
        fill_with_secrets(old, number)
        if number % 2:
            old.end()
        del old
        with tracer.start_span("new") as span:
            new: Any = span
            for many in range(number % 20):
                new.set_attribute(f"open {many}", many)
                new.add_event("open", {"number": many})
            if number % 5 == 0:
                assert dict(new.attributes) == {f"open {many}": many for many in range(number % 20)}
                assert [dict(event.attributes) for event in new.events] == [
                    {"number": many} for many in range(number % 20)
                ]
                assert b"secret" not in new.to_json().encode()
    assert processor.force_flush()
    for number, message in enumerate(exporter.spans):
        assert [pair.key for pair in message.attributes] == [f"open {many}" for many in range(number % 20)]
        assert [event.attributes[0].value.int_value for event in message.events] == list(range(number % 20))
    assert b"secret" not in b"".join(exporter.batches)
    processor.shutdown()
