"""Links that a span is given when it starts: what the SDK keeps of them, whatever their kind."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import pytest
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, SpanContext, TraceFlags, TraceState

import otlpfast

from .pipeline import Encoded
from .test_trace_surface import made

ELSEWHERE = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True, TraceFlags(1))
STATE = SpanContext(0, 0, False, TraceFlags(0), TraceState([("a", "1")]))


def kept(provider: Any, links: Any) -> object:
    span = provider.get_tracer("t").start_span("span", links=links)
    found = [
        (link.context, link.context is span.links[at].context, dict(link.attributes), link.dropped_attributes)
        for at, link in enumerate(span.links)
    ]
    return found, span.dropped_links, [type(link.attributes) for link in span.links]


def both(links: Callable[[], Any], **limits: int) -> tuple[object, object]:
    options: dict[str, Any] = {"span_limits": SpanLimits(**limits), "shutdown_on_exit": False}
    return kept(otlpfast.TracerProvider(**options), links()), kept(TracerProvider(**options), links())


LINKS: dict[str, Callable[[], Any]] = {
    "a list": lambda: [Link(ELSEWHERE, {"a": 1, "b": "x" * 9}), Link(ELSEWHERE)],
    "a tuple": lambda: (Link(ELSEWHERE, {"a": [1, 2]}),),
    "with nothing": list,
    "that say nothing": lambda: [Link(INVALID_SPAN_CONTEXT), Link(INVALID_SPAN_CONTEXT, {}), None],
    "invalid, with attributes or state": lambda: [Link(INVALID_SPAN_CONTEXT, {"a": 1}), Link(STATE)],
    "without a context": lambda: [Link(None, {"a": 1}), Link(ELSEWHERE)],  # type: ignore[arg-type]
    "many": lambda: [Link(ELSEWHERE, {"n": number}) for number in range(9)],
    "many and invalid": lambda: [Link(ELSEWHERE if n % 2 else INVALID_SPAN_CONTEXT) for n in range(9)],
    "that a span has had": lambda: [Link(ELSEWHERE, BoundedAttributes(2, {"a": 1, "b": 2, "c": 3}))],
    "with other mappings": lambda: [
        Link(ELSEWHERE, MappingProxyType({"a": 1})),
        Link(ELSEWHERE, UserDict(b=2)),
    ],
    "of subclasses": lambda: [type("Mine", (Link,), {})(ELSEWHERE, {"a": 1}), Link(ELSEWHERE, {"b": 2})],
    "in an iterable of somebody's": lambda: type("Mine", (list,), {})([Link(ELSEWHERE, {"a": 1})]),
    "with empty keys": lambda: [Link(ELSEWHERE, {"a": 1}), Link(ELSEWHERE, {"": 1, "b": 2})],
}


@pytest.mark.parametrize("links", LINKS)
@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"max_links": 3},
        {"max_links": 0},
        {"max_link_attributes": 1},
        {"max_link_attributes": 0},
        {"max_attribute_length": 4},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_are_kept_as_the_sdk_keeps_them(links: str, limits: dict[str, int]) -> None:
    own, theirs = both(LINKS[links], **limits)
    assert own == theirs


def test_arrive_as_those_that_are_added() -> None:
    exporter = Encoded()
    tracer = made(otlpfast.SimpleSpanProcessor(exporter)).get_tracer("t")
    pairs: Sequence[tuple[SpanContext, dict[str, Any] | None]] = [
        (ELSEWHERE, {"a": 1, "b": "x"}),
        (STATE, None),
        (INVALID_SPAN_CONTEXT, {"c": [True]}),
    ]
    tracer.start_span("given", links=[Link(*pair) for pair in pairs]).end()
    span = tracer.start_span("added")
    for context, attributes in pairs:
        span.add_link(context, attributes)
    span.end()
    given, added = exporter.spans
    assert list(given.links) == list(added.links) and len(given.links) == 3


def test_what_changes_later_is_not_seen() -> None:
    attributes: dict[str, Any] = {"a": [1]}
    links = [Link(ELSEWHERE, attributes)]
    span: Any = made().get_tracer("t").start_span("span", links=links)
    attributes["a"].append(2)
    attributes["b"] = 1
    links.clear()
    assert [dict(link.attributes) for link in span.links] == [{"a": (1,)}]


def test_more_links_can_be_added() -> None:
    span: Any = (
        made(span_limits=SpanLimits(max_links=2))
        .get_tracer("t")
        .start_span("span", links=[Link(ELSEWHERE, {"a": 1}), Link(ELSEWHERE, {"a": 2})])
    )
    span.add_link(ELSEWHERE, {"a": 3})
    assert [link.attributes["a"] for link in span.links] == [2, 3]
    assert span.dropped_links == 1


def test_a_value_with_a_text_of_its_own_is_asked_for_it_once() -> None:
    asked: list[int] = []

    class Text:
        def __str__(self) -> str:
            asked.append(1)
            return "text"

    links: list[Any] = [Link(ELSEWHERE, {"a": Text()}), None, Link(ELSEWHERE, {"b": 1})]
    span: Any = made().get_tracer("t").start_span("span", links=links)
    assert [dict(link.attributes) for link in span.links] == [{"a": "text"}, {"b": 1}]
    assert asked == [1]
