"""Attributes that change while they are read, that hold themselves or are huge: the span gets what it can."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import Link

from otlpfast import IMPLEMENTATION

from .pipeline import SANITIZED, Encoded
from .touching import ELSEWHERE, check_whole, operations
from .traced import native, roomy

SCALE = 1 if SANITIZED or IMPLEMENTATION == "py" else 5


class Changing:
    """Changes what it is in when it is turned to text."""

    def __init__(self, change: Callable[[], object]) -> None:
        self.change = change

    def __str__(self) -> str:
        self.change()
        return "changing"


def shrinking() -> dict[str, Any]:
    pairs: dict[str, Any] = {f"key {number}": number for number in range(50)}
    pairs["key 3"] = Changing(pairs.clear)
    pairs["key 5"] = Changing(pairs.clear)
    return pairs


def growing() -> dict[str, Any]:
    pairs: dict[str, Any] = {"key 0": "x"}
    pairs["key 1"] = Changing(lambda: pairs.update({f"grown {number}": number for number in range(5000)}))
    return pairs


def ever_growing() -> dict[str, Any]:
    pairs: dict[str, Any] = {"key 0": "x"}
    pairs["key 1"] = Changing(lambda: pairs.update({f"grown {len(pairs)}": 1}))
    pairs["key 2"] = pairs["key 1"]
    return pairs


def replaced() -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for number in range(20):
        pairs[f"key {number}"] = Changing(lambda: pairs.update({f"key {n}": object() for n in range(20)}))
    return pairs


def emptied_lists() -> dict[str, Any]:
    values: list[Any] = ["x" * 10 for _ in range(100)]
    values[5] = Changing(values.clear)
    inner: dict[str, Any] = {f"{number}": [number] for number in range(100)}
    inner["7"] = [Changing(inner.clear), inner]
    return {"list": values, "lists": [values, values], "map": inner}


def cyclic() -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    values: list[Any] = [pairs]
    pairs.update(list=values, map=pairs, text="text")
    values.append(values)
    return pairs


def deep() -> dict[str, Any]:
    value: Any = "bottom"
    for number in range(20_000):
        value = [value] if number % 2 else {"a": value}
    return {"deep": value}


@pytest.fixture(name="exporter")
def exporter_fixture() -> Encoded:
    return Encoded()


@pytest.mark.parametrize("give", [shrinking, growing, ever_growing, replaced, emptied_lists, cyclic, deep])
def test_attributes_that_change_while_they_are_read(
    exporter: Encoded, give: Callable[[], dict[str, Any]]
) -> None:
    processor = roomy(exporter)
    tracer = native(processor).get_tracer("tests")
    does = operations(tracer, give)
    does.pop("read")  # SDK's to_json() is not made for such
    for _ in range(3):
        with tracer.start_as_current_span(
            "operation", attributes=give(), links=[Link(ELSEWHERE, give())]
        ) as span:
            span.set_attribute("before", 1)
            for do in does.values():
                do(span)
            span.set_attribute("after", 2)
    assert processor.force_flush()
    check_whole(exporter.spans)
    found = [span for span in exporter.spans if span.name == "operation"]
    assert len(found) == 3
    for message in found:
        attributes = {pair.key: pair.value for pair in message.attributes}
        assert attributes["after"].int_value == 2
        assert [event.name for event in message.events] == ["event", "exception"]
    processor.shutdown()


def test_a_span_may_be_given_what_it_has(exporter: Encoded) -> None:
    processor = roomy(exporter)
    tracer = native(processor).get_tracer("tests")
    with tracer.start_as_current_span("operation", attributes={"a": 1, "b": [2], "c": "3"}) as given:
        span: Any = given
        span.set_attributes(span.attributes)
        span.set_attributes(span._attributes)
        span.add_event("event", span.attributes)
        span.add_event("event", span._attributes)
        span.add_link(span.get_span_context(), span.attributes)
        span.record_exception(ValueError("x"), span.attributes)
        tracer.start_span("child", attributes=span.attributes, links=span.links).end()
        for event in span.events:
            span.set_attributes(event.attributes)
    assert processor.force_flush()
    check_whole(exporter.spans)
    child, parent = exporter.spans
    assert [pair.key for pair in child.attributes] == ["a", "b", "c"]
    assert {"a", "b", "c"} <= {pair.key for pair in parent.attributes}
    assert [len(event.attributes) for event in parent.events] == [3, 3, 7]
    assert [len(link.attributes) for link in child.links] == [3]
    processor.shutdown()


def test_a_mapping_that_another_thread_changes(exporter: Encoded) -> None:
    processor = roomy(exporter)
    tracer = native(processor).get_tracer("tests")
    pairs: dict[str, Any] = {}
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            for number in range(40):
                pairs[f"key {number}"] = [number, {"a": number}]
            pairs.clear()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300 * SCALE):
            with tracer.start_as_current_span("operation", attributes=pairs) as span:
                span.set_attributes(pairs)
                span.add_event("event", pairs)
    finally:
        stop.set()
        thread.join()
    assert processor.force_flush()
    spans = exporter.spans
    assert len(spans) == 300 * SCALE
    check_whole(spans)
    for message in spans:
        for pair in message.attributes:
            assert pair.key == f"key {pair.value.array_value.values[0].int_value}"
    processor.shutdown()


class Interrupted(BaseException):
    pass


def test_an_interrupt_while_a_value_is_read_goes_to_the_application(exporter: Encoded) -> None:
    processor = roomy(exporter)
    tracer = native(processor).get_tracer("tests")

    def interrupt() -> None:
        raise Interrupted

    def pairs() -> dict[str, Any]:
        return {"a": "x", "said": Changing(interrupt), "b": ["y"]}

    does = operations(tracer, pairs)
    for name in ("set_status", "update_name", "read", "raise"):
        does.pop(name)
    with tracer.start_as_current_span("operation", attributes={"before": 1}) as span:
        for do in does.values():
            with pytest.raises(Interrupted):
                do(span)
        span.set_attribute("after", 2)
    assert processor.force_flush()
    found = [message for message in exporter.spans if message.name == "operation"]
    assert len(found) == 1
    keys = {pair.key for pair in found[0].attributes}
    assert {"before", "after"} <= keys <= {"before", "after", "a"}
    assert len(found[0].events) == 0
    processor.shutdown()


# --- huge ones


def sizes(message: SpanMessage) -> tuple[int, int, int]:
    return len(message.attributes), len(message.events), len(message.links)


def test_10_000_of_everything_without_limits(exporter: Encoded) -> None:
    processor = roomy(exporter)
    tracer = native(processor, span_limits=SpanLimits(*[SpanLimits.UNSET] * 8)).get_tracer("tests")
    many = {f"key {number}": number for number in range(10_000)}
    links = [Link(ELSEWHERE, {"number": number}) for number in range(10_000)]
    tracer.start_span("given", attributes=many, links=links).end()
    span = tracer.start_span("added")
    for key, value in many.items():
        span.set_attribute(key, value)
        span.add_event("event", {"number": value})
        span.add_link(ELSEWHERE, {"number": value})
    span.set_attributes(dict(reversed(many.items())))
    span.end()
    tracer.start_span("event").add_event("event", many)
    with tracer.start_span("event") as other:
        other.add_event("event", many)
    assert processor.force_flush()
    check_whole_but_long = {message.name: message for message in exporter.spans}
    assert sizes(check_whole_but_long["given"]) == (10_000, 0, 10_000)
    added = check_whole_but_long["added"]
    assert sizes(added) == (10_000, 10_000, 10_000)
    assert [pair.key for pair in added.attributes] == list(reversed(many))
    assert [event.attributes[0].value.int_value for event in added.events] == list(range(10_000))
    assert len(check_whole_but_long["event"].events[0].attributes) == 10_000
    assert added.dropped_attributes_count == added.dropped_events_count == added.dropped_links_count == 0
    processor.shutdown()


def test_10_000_of_everything_within_the_limits(exporter: Encoded) -> None:
    processor = roomy(exporter)
    tracer = native(processor).get_tracer("tests")
    many = {f"key {number}": "x" * 20 for number in range(10_000)}
    links = [Link(ELSEWHERE, {"number": number}) for number in range(10_000)]
    tracer.start_span("given", attributes=many, links=links).end()
    with tracer.start_span("added") as span:
        for number, (key, value) in enumerate(many.items()):
            span.set_attribute(key, value)
            span.add_event("event", {"number": number})
        span.set_attributes(many)
        span.add_event("event", many)
    assert processor.force_flush()
    given, added = exporter.spans
    assert sizes(given) == (128, 0, 128)
    assert (given.dropped_attributes_count, given.dropped_links_count) == (9872, 9872)
    assert sizes(added) == (128, 128, 0)
    assert [pair.key for pair in added.attributes] == [f"key {number}" for number in range(9872, 10_000)]
    assert (added.dropped_attributes_count, added.dropped_events_count) == (9872 + 10_000, 9873)
    assert added.events[-1].dropped_attributes_count == 9872
    processor.shutdown()


def test_texts_of_megabytes_are_cut_at_the_limit(exporter: Encoded) -> None:
    processor = roomy(exporter)
    limits = SpanLimits(max_attribute_length=10)
    tracer = native(processor, span_limits=limits).get_tracer("tests")
    for text in ("x" * 5_000_000, "\u6771" * 2_000_000, "\U0001f600" * 1_000_000):
        with tracer.start_span("operation", attributes={"text": text}) as span:
            span.set_attribute("later", text)
            span.set_attribute("list", [text, [text]])
            span.add_event("event", {"text": text})
        assert processor.force_flush()
        (message,) = exporter.spans
        assert [pair.value.string_value for pair in message.attributes[:2]] == [text[:10]] * 2
        assert message.attributes[2].value.array_value.values[0].string_value == text[:10]
        assert message.events[0].attributes[0].value.string_value == text[:10]
        exporter.batches.clear()
    processor.shutdown()
