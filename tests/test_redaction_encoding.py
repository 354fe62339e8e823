"""Redaction in the encoder: whatever a span holds, its bytes are those of the redacted span."""

from __future__ import annotations

import array
import re
import uuid
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from otlpfast._arguments import redactor
from otlpfast._impl import BatchBuilder, Redactor
from otlpfast._plain import plain_span
from otlpfast._redacted import redact
from otlpfast._request import request_parts
from otlpfast.redaction import RedactionRules

from .pipeline import Encoded, spans_of
from .planted import CARD, EMAIL, values_of
from .spans import decode, every_field, hand_made, provider
from .traced import native

KEYS = (("keep*", "keep"), ("scan*", "scan"), ("mask*", "mask"), ("hash*", "hash"), ("drop*", "drop"))
OPTIONS: dict[str, Any] = {"keys": KEYS, "patterns": ("email", "card"), "hash_key": "a key"}
RULES = RedactionRules(**OPTIONS)
CONTEXT = SpanContext(7, 8, True, TraceFlags(1))


def encoded(spans: Iterable[Any], by: Redactor | None = None) -> bytes:
    builder = BatchBuilder(by)
    for span in spans:
        builder.add(span)
    return b"".join(request_parts(builder.finish()))


def only(rules: RedactionRules, **fields: Any) -> SpanMessage:
    """A span that was made by hand, as it arrives."""
    [span] = spans_of(encoded([hand_made(**fields)], redactor(rules)))
    return span


def attributes_of(rules: RedactionRules, **attributes: Any) -> dict[str, Any]:
    return values_of(only(rules, attributes=attributes).attributes)


# --- the same bytes as of the span that was redacted before

_texts = st.lists(
    st.sampled_from(["", "text", EMAIL, CARD, "é", "東😀", "\ud800", "x" * 130, " ", "@", "4111"])
    | st.text(max_size=5),
    max_size=6,
).map("".join)
_keys = st.builds(
    str.__add__,
    st.sampled_from(["keep", "scan", "mask", "hash", "drop", "other", "é", EMAIL]),
    st.text(max_size=3),
)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    _texts,
    _texts.map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=20),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=8,
)
_attributes = st.none() | st.dictionaries(_keys, _values, max_size=5)
_events = st.builds(Event, _texts | st.just("exception"), _attributes, st.just(5))
_spans = st.builds(
    hand_made,
    name=_texts,
    attributes=_attributes,
    events=st.lists(_events, max_size=2),
    links=st.lists(st.builds(Link, st.just(CONTEXT), _attributes), max_size=2),
    status=st.builds(Status, st.just(StatusCode.ERROR), _texts),
)
_rules = st.sampled_from(
    [
        RULES,
        RedactionRules(**OPTIONS, allow=["other*"]),
        RedactionRules(**OPTIONS, allow=["nothing"], action="drop"),
        RedactionRules(**OPTIONS, allow=[], action="hash", mask="é😀" * 60),
        RedactionRules(**OPTIONS, action="drop", mask=""),
        *(RedactionRules(**OPTIONS, **{part: False}) for part in ("span_names", "events", "exceptions")),
        *(RedactionRules(**OPTIONS, **{part: False}) for part in ("statuses", "links")),
        RedactionRules(),
    ]
)


def redacted_before(spans: Iterable[ReadableSpan], by: Redactor) -> list[ReadableSpan]:
    made = []
    for span in spans:
        plain = plain_span(span)
        assert plain is not None
        redact(plain, by)
        made.append(plain)
    return made


@given(st.lists(_spans, min_size=1, max_size=3), _rules)
def test_the_bytes_are_those_of_redacted_spans(spans: list[ReadableSpan], rules: RedactionRules) -> None:
    redacts = redactor(rules)
    assert encoded(spans, redacts) == encoded(redacted_before(spans, redacts))


@given(st.dictionaries(_keys, _values, max_size=5), _rules)
def test_spans_of_both_providers_give_the_same(attributes: dict[str, Any], rules: RedactionRules) -> None:
    from otlpfast import SimpleSpanProcessor

    arrived = []
    for make in (native, provider):
        exporter = Encoded()
        tracer = make(SimpleSpanProcessor(exporter, redaction=rules)).get_tracer("tests")
        span = tracer.start_span(f"of {EMAIL}", attributes=attributes, start_time=1)
        span.add_event("event", attributes, 2)
        span.end(3)
        [message] = exporter.spans
        message.trace_id = message.span_id = b""
        arrived.append(message)
    assert arrived[0] == arrived[1]


def test_spans_without_anything_to_hide_stay_as_they_are() -> None:
    spans = every_field()
    assert encoded(spans, redactor(RULES)) == encoded(spans)


# --- attributes


def test_keys_decide() -> None:
    found = attributes_of(
        RULES, keep=EMAIL, scan=f"to {EMAIL}", mask="x", hash="y", drop="z", other=f"to {EMAIL}"
    )
    assert found == {
        "keep": EMAIL,
        "scan": "to [REDACTED]",
        "mask": "[REDACTED]",
        "hash": redactor(RULES).hash("y"),
        "other": "to [REDACTED]",
    }


@pytest.mark.parametrize(
    "value", [1, -(2**63), 2**80, 0.5, True, None, b"\xff", ["a"], {"a": 1}, "é" * 500, ""]
)
def test_a_mask_is_in_the_place_of_any_value(value: object) -> None:
    assert attributes_of(RULES, mask=value) == {"mask": "[REDACTED]"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (17, "17"),
        (-(2**63), str(-(2**63))),
        (2**80, str(2**80)),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (2.0, "2.0"),
        (float("nan"), "nan"),
        (True, "true"),
        (False, "false"),
        (b"\xff\0", b"\xff\0"),
        ("é\ud800", "é\ufffd"),
    ],
)
def test_hashes_are_of_what_a_value_is_as_a_text(value: Any, text: Any) -> None:
    assert attributes_of(RULES, hash=value) == {"hash": redactor(RULES).hash(text)}


def test_hashes_of_what_a_span_made_by_hand_may_have() -> None:
    for value in (StatusCode.OK, frozenset(["a"]), uuid.UUID(int=7)):
        span = ReadableSpan("a span", CONTEXT, attributes={"hash": value})  # type: ignore[dict-item]
        [found] = spans_of(encoded([span], redactor(RULES)))
        [plain] = spans_of(encoded([span]))
        text = values_of(plain.attributes)["hash"]
        assert values_of(found.attributes) == {"hash": redactor(RULES).hash(text)}


def test_each_item_of_a_sequence_has_a_hash_and_what_has_none_is_masked() -> None:
    found = attributes_of(RULES, hash=["a", [7], None, {"a": 1}])["hash"].values
    hashed = redactor(RULES).hash
    assert found[0].string_value == hashed("a")
    assert found[1].array_value.values[0].string_value == hashed("7")
    assert [item.string_value for item in found[2:]] == ["[REDACTED]"] * 2


def test_what_is_dropped_is_counted() -> None:
    span = only(
        RULES,
        attributes={"drop": 1, "drop it": {"x": 1}, "other": {"drop": 2, "left": 3}},
        events=[Event("event", {"drop": 1})],
        links=[Link(CONTEXT, {"drop": 1, "keep": 2})],
    )
    assert [pair.key for pair in span.attributes] == ["other"]
    assert [pair.key for pair in span.attributes[0].value.kvlist_value.values] == ["left"]
    assert span.dropped_attributes_count == 2
    assert [event.dropped_attributes_count for event in span.events] == [1]
    assert [link.dropped_attributes_count for link in span.links] == [1]


def test_a_key_that_is_secret_itself_goes_with_its_value() -> None:
    span = only(RULES, attributes={EMAIL: 1, "other": {f"of {EMAIL}": 2, "left": 3}, f"mask {EMAIL}": 4})
    assert EMAIL.encode() not in span.SerializeToString()
    assert [pair.key for pair in span.attributes] == ["other"]
    assert span.dropped_attributes_count == 2


def test_nested_keys_are_asked_too_and_inherit_where_no_rule_names_them() -> None:
    value = {"x": EMAIL, "mask": 1, "list": [{"mask": 2, "y": EMAIL}]}
    span = only(RULES, attributes={"scan": value, "keep": value})
    texts = str(span)
    assert texts.count("[REDACTED]") == 2 * 2 + 2 and texts.count(EMAIL) == 2


def test_bytes_that_are_a_text_are_searched() -> None:
    found = attributes_of(RULES, a=f"é {EMAIL}".encode(), b=b"\xff " + EMAIL.encode())
    assert found == {"a": "é [REDACTED]".encode(), "b": b"\xff " + EMAIL.encode()}


def test_numbers_are_no_texts() -> None:
    numbers = array.array("q", [int(CARD), 2])
    found = attributes_of(RULES, one=int(CARD), many=numbers, half=0.5)
    assert found["one"] == int(CARD) and found["many"].values[0].int_value == int(CARD)


@pytest.mark.parametrize("size", [0, 1, 110, 118, 119, 120, 127, 128, 16_383, 16_384, 40_000])
@pytest.mark.parametrize("mask", ["", "***", "é" * 200])
def test_lengths_are_right_whatever_shrinks_or_grows(size: int, mask: str) -> None:
    rules = RedactionRules(patterns=["email"], mask=mask)
    text = "." * size + f" {EMAIL} " + "." * size
    event = Event(text, {"a": text})
    span = only(rules, name=text, attributes={"a": text, "b": [text]}, events=[event])
    left = text.replace(EMAIL, mask)
    assert span.name == left and span.events[0].name == left
    assert values_of(span.attributes)["a"] == left
    assert span.attributes[1].value.array_value.values[0].string_value == left
    assert values_of(span.events[0].attributes)["a"] == left


# --- allow-list, resources and scopes


def test_an_allow_list_is_for_the_attributes_of_spans_events_and_links() -> None:
    rules = RedactionRules(allow=["app.*"], patterns=["email"], keys=["*password*"], action="drop")
    attributes = {"app.user": {"name": "joe", "mail": EMAIL, "password": "x"}, "other": 1}
    span = hand_made(
        attributes=attributes,
        events=[Event("event", attributes)],
        links=[Link(CONTEXT, attributes)],
        resource=Resource({"service.name": "shop", "owner": EMAIL, "admin.password": "x"}),
        instrumentation_scope=InstrumentationScope("tests", attributes={"mail": EMAIL, "level": 1}),
    )
    request = decode(encoded([span], redactor(rules)))
    [resource_spans] = request.resource_spans
    [scope_spans] = resource_spans.scope_spans
    [message] = scope_spans.spans
    assert values_of(resource_spans.resource.attributes) == {"service.name": "shop", "owner": ""}
    assert values_of(scope_spans.scope.attributes) == {"mail": "", "level": 1}
    for holder in (message, message.events[0], message.links[0]):
        assert [pair.key for pair in holder.attributes] == ["app.user"]
        user = values_of(holder.attributes[0].value.kvlist_value.values)
        assert user == {"name": "joe", "mail": ""}
        assert holder.dropped_attributes_count == 1


def test_two_rule_sets_have_a_resource_each_in_their_own_way() -> None:
    span = hand_made(resource=Resource({"owner": EMAIL}))
    one, other = RedactionRules(patterns=["email"]), RedactionRules(keys=[("owner", "drop")])
    for _ in range(2):
        shown = [
            [values_of(r.resource.attributes) for r in decode(encoded([span], by)).resource_spans]
            for by in (redactor(one), redactor(other), None)
        ]
        assert shown == [[{"owner": "[REDACTED]"}], [{}], [{"owner": EMAIL}]]


# --- switches


PARTS = {
    "span_names": lambda span: span.name,
    "statuses": lambda span: span.status.message,
    "events": lambda span: span.events[0],
    "exceptions": lambda span: span.events[1],
    "links": lambda span: span.links[0],
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_can_be_left_alone(part: str) -> None:
    attributes = {"a": EMAIL, "mask": 1, "drop": 2}
    fields: dict[str, Any] = {
        "name": EMAIL,
        "attributes": attributes,
        "status": Status(StatusCode.ERROR, EMAIL),
        "events": [
            Event(f"to {EMAIL}", attributes),
            Event("exception", {"exception.message": EMAIL, "drop": 1}),
        ],
        "links": [Link(CONTEXT, attributes)],
    }
    [plain] = spans_of(encoded([hand_made(**fields)]))
    redacted = only(RedactionRules(**OPTIONS, **{part: False}), **fields)
    for name, of in PARTS.items():
        assert (of(redacted) == of(plain)) is (name == part)
    assert EMAIL not in str(redacted.attributes)


def test_a_span_that_only_its_public_properties_show_is_redacted() -> None:
    class Foreign:
        def __init__(self, span: ReadableSpan) -> None:
            self._span = span

        def __getattr__(self, name: str) -> Any:
            return getattr(self._span, name)

    span = hand_made(name=EMAIL, attributes={"a": EMAIL, "mask": 1})
    assert encoded([Foreign(span)], redactor(RULES)) == encoded([span], redactor(RULES))


def test_a_key_of_a_text_class_of_its_own_is_judged_as_its_text() -> None:
    class Key(str):
        def __hash__(self) -> int:
            return hash(str(self))

        def __eq__(self, other: object) -> bool:
            return str(self) == other

    nested = {Key("mask"): EMAIL, Key("a"): EMAIL}
    assert EMAIL.encode() not in encoded([hand_made(attributes={"n": nested})], redactor(RULES))


def test_what_a_pattern_of_ones_own_finds_goes() -> None:
    rules = RedactionRules(patterns=[(re.compile("cust-(?P<secret>[0-9]+)"), "drop")])
    assert attributes_of(rules, a="of cust-17, cust-x") == {"a": "of cust-, cust-x"}
