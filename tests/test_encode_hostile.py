"""No span raises, and none costs its neighbours: what can be mended is mended, the rest is left out."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags, TraceState

from otlpfast import _pure
from otlpfast._impl import encode_spans

from .spans import attributes, decode, hand_made


class Raises:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Exits:
    def __repr__(self) -> str:
        raise RecursionError


class Endless(Sequence[int]):
    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, index: Any) -> Any:
        return 1

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 1


def with_field(made: Any, name: str, value: object) -> Any:
    setattr(made, name, value)
    return made


class BadMapping(Mapping[str, int]):
    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __getitem__(self, key: str) -> int:
        raise RuntimeError


class LyingClass:
    @property
    def __class__(self) -> Any:
        raise RuntimeError


class StrangeInt(int):
    def __index__(self) -> int:
        raise RuntimeError

    def __int__(self) -> int:
        raise RuntimeError


def cyclic_list() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def cyclic_dict() -> dict[str, Any]:
    value: dict[str, Any] = {"a": 1}
    value["self"] = [value]
    return value


def laughs() -> list[Any]:
    value: list[Any] = ["ha"]
    for _ in range(40):
        value = [value, value]
    return value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


HOSTILE_VALUES = {
    "str raises": Raises(),
    "repr raises": Exits(),
    "plain object": object(),
    "cyclic list": cyclic_list(),
    "cyclic dict": cyclic_dict(),
    "deep list": deep(5000),
    "bad mapping": BadMapping(),
    "lying class": LyingClass(),
    "lone surrogate": "a\ud800b",
    "surrogate key": {"\udfff": 1},
    "huge int": 10**30,
    "negative huge int": -(2**63) - 1,
    "astronomic int": 10**5000,
    "strange int": StrangeInt(5),
    "released view": None,
    "view with a byte order": memoryview(bytes(range(8))).cast("@i"),
    "nan": float("nan"),
    "set": {1},
    "type": int,
    "function": deep,
}
_released = memoryview(b"abc")
_released.release()
HOSTILE_VALUES["released view"] = _released

HOSTILE_FIELDS: dict[str, dict[str, Any]] = {
    "name is an int": {"name": 5},
    "name is None": {"name": None},
    "name raises": {"name": Raises()},
    "surrogates in the name": {"name": "\ud800\udc00"},
    "negative start": {"start_time": -5},
    "float times": {"start_time": 1.5, "end_time": float("inf")},
    "times are None": {"start_time": None, "end_time": None},
    "times beyond 64 bits": {"start_time": 2**64, "end_time": 2**70},
    "bad kind": {"kind": 77},
    "kind is an int": {"kind": 3},
    "bad status": {"status": object()},
    "no status": {"status": None},
    "status of an odd code": {"status": with_field(Status(StatusCode.OK), "_status_code", 7)},
    "attributes are a list": {"attributes": [1]},
    "attributes raise": {"attributes": BadMapping()},
    "int keys": {"attributes": {1: 2, None: 3}},
    "events are no events": {"events": [object(), Event("good", {"a": 1}, 5)]},
    "event time is text": {"events": [Event("e", {}, "x")]},  # type: ignore[arg-type]
    "event name is None": {"events": [Event(None, {"a": Raises()}, 1)]},  # type: ignore[arg-type]
    "events raise": {"events": 5},
    "links are no links": {"links": [object(), Link(SpanContext(1, 2, False))]},
    "link ids out of range": {"links": [Link(SpanContext(2**128, 2, False))]},
    "parent out of range": {"parent": SpanContext(1, -1, False)},
    "parent below zero": {"parent": SpanContext(-1, 1, False)},
    "parent with flags below zero": {"parent": SpanContext(1, 2, False, -1)},  # type: ignore[arg-type]
    "parent without flags": {"parent": SpanContext(1, 2, False, "")},  # type: ignore[arg-type]
    "parent that is remote in other words": {"parent": SpanContext(1, 2, "yes")},  # type: ignore[arg-type]
    "trace state of strangers": {"context": SpanContext(1, 2, False, TraceFlags(1), {"a": 1})},  # type: ignore[arg-type]
    "trace state without entries": {
        "context": SpanContext(1, 2, False, TraceFlags(1), with_field(TraceState(), "_dict", None))
    },
    "dropped attributes are no number": {"attributes": with_field(BoundedAttributes(), "dropped", "many")},
    "flags too large": {"context": SpanContext(1, 2, False, 0x1FF)},  # type: ignore[arg-type]
    "resource is nothing": {"resource": object()},
    "resource of surrogates": {"resource": Resource({"\ud800": "\ud800"})},
    "scope is nothing": {"instrumentation_scope": object()},
}
UNENCODABLE: dict[str, dict[str, Any]] = {
    "no context": {"context": None},
    "context is text": {"context": "x"},
    "trace_id too large": {"context": SpanContext(2**128, 1, False, TraceFlags(1))},
    "negative trace_id": {"context": SpanContext(-1, 1, False, TraceFlags(1))},
    "negative span_id": {"context": SpanContext(1, -1, False, TraceFlags(1))},
}

GOOD = hand_made(name="good", attributes={"fine": True})


def good_neighbours(span: Any) -> list[Any]:
    """Encodes the span between good ones; both must be there, whole. Gives what arrived in between."""
    encoded = encode_spans([GOOD, span, GOOD])
    assert encoded == _pure.encode_spans([GOOD, span, GOOD])
    spans = [s for r in decode(encoded).resource_spans for scope in r.scope_spans for s in scope.spans]
    alone = decode(encode_spans([GOOD])).resource_spans[0].scope_spans[0].spans[0]
    good = [s for s in spans if s == alone]
    assert len(good) == 2
    return [s for s in spans if s != alone]


@pytest.mark.parametrize("name", HOSTILE_VALUES)
@pytest.mark.parametrize("place", ["span", "event", "link", "nested", "key order"])
def test_hostile_values(name: str, place: str) -> None:
    value = HOSTILE_VALUES[name]
    fields: dict[str, Any] = {
        "span": {"attributes": {"k": value}},
        "event": {"events": [Event("e", {"k": value}, 1)]},
        "link": {"links": [Link(SpanContext(1, 2, False), {"k": value})]},
        "nested": {"attributes": {"k": [1, {"in": value}]}},
        "key order": {"attributes": {"before": 1, "k": value, "after": 2}},
    }[place]
    (found,) = good_neighbours(hand_made(**fields))
    if place == "key order":
        assert [pair.key for pair in found.attributes] == ["before", "k", "after"]


@pytest.mark.parametrize("name", HOSTILE_FIELDS)
def test_hostile_fields_are_mended(name: str) -> None:
    assert len(good_neighbours(hand_made(**HOSTILE_FIELDS[name]))) == 1


@pytest.mark.parametrize("name", UNENCODABLE)
def test_a_span_without_valid_ids_is_left_out(name: str) -> None:
    assert good_neighbours(hand_made(**UNENCODABLE[name])) == []


def test_strangers_are_left_out() -> None:
    assert good_neighbours(object()) == []
    assert good_neighbours(None) == []


def only(**fields: Any) -> Any:
    (found,) = good_neighbours(hand_made(**fields))
    return found


def value_of(value: Any) -> Any:
    return only(attributes={"k": value}).attributes[0].value


class TestWhatBecomesOfThem:
    def test_surrogates_become_replacement_characters(self) -> None:
        assert value_of("a\ud800b").string_value == "a\ufffdb"
        assert only(name="\ud83d\ude00").name == "\ufffd\ufffd"

    def test_ints_beyond_64_bits_become_text(self) -> None:
        assert value_of(2**63).string_value == str(2**63)
        assert value_of(-(2**63)).int_value == -(2**63)
        assert value_of(10**5000).string_value.startswith("0x")

    def test_unprintable_objects_get_a_placeholder(self) -> None:
        assert value_of(Raises()).string_value == "<unprintable Raises object>"

    def test_objects_without_a_text_of_their_own_are_empty(self) -> None:
        assert value_of(object()).WhichOneof("value") is None

    def test_cycles_are_cut(self) -> None:
        assert value_of(cyclic_list()).array_value.values[1].string_value == "<cyclic reference>"

    def test_too_deep_lists_are_cut(self) -> None:
        assert b"<nested too deeply>" in encode_spans([hand_made(attributes={"k": deep(100)})])

    def test_times_are_brought_into_range(self) -> None:
        found = only(start_time=-5, end_time=2**70)
        assert (found.start_time_unix_nano, found.end_time_unix_nano) == (0, 2**64 - 1)

    def test_an_unknown_kind_is_unspecified(self) -> None:
        assert only(kind=77).kind == 0
        assert only(kind=3).kind == 4

    def test_a_link_without_valid_ids_counts_as_dropped(self) -> None:
        assert only(links=[Link(SpanContext(2**128, 2, False))]).dropped_links_count == 1

    def test_trace_states_of_strangers_become_text(self) -> None:
        state = TraceState()
        state._dict = {"k": 5}  # type: ignore[dict-item]
        assert only(context=SpanContext(1, 2, False, TraceFlags(1), state)).trace_state == "k=5"


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="bounded work, but slow")
@pytest.mark.parametrize("value", [laughs(), Endless()], ids=["laughs", "endless"])
def test_values_without_end_are_cut(value: Any) -> None:
    request = decode(encode_spans([hand_made(attributes={"k": value}), GOOD]))
    assert len(request.resource_spans[0].scope_spans[0].spans) == 2


class OwnProperties(ReadableSpan):
    """A subclass that says something else than its fields do."""

    @property
    def name(self) -> str:
        return "mine"

    @property
    def attributes(self) -> Any:
        raise RuntimeError


class Bare(ReadableSpan):
    """A subclass without the base's __init__."""

    def __init__(self) -> None:
        self.span = hand_made(name="inner")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["span"], name)


def test_subclasses_are_seen_through_their_properties() -> None:
    (found,) = good_neighbours(OwnProperties("theirs", hand_made().context, resource=Resource({})))
    assert (found.name, len(found.attributes)) == ("mine", 0)
    (found,) = good_neighbours(Bare())
    assert found.name == "inner"


class EndsSpans:
    """An attribute value whose text encodes other spans."""

    def __str__(self) -> str:
        encode_spans([hand_made(attributes={"inner": Raises()})])
        return "text"


def test_user_code_that_encodes_spans_meanwhile() -> None:
    assert value_of(EndsSpans()).string_value == "text"


def test_a_finaliser_that_encodes_spans_meanwhile() -> None:
    class Finalised:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            encode_spans([GOOD])

    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(300):
            Finalised()
            assert len(good_neighbours(hand_made(attributes={"a": [1, Raises(), "é"]}))) == 1
    finally:
        gc.set_threshold(*thresholds)


class Hostile(str):
    """The name of a hostile value: hypothesis prints what it draws, which some of them do not survive."""


def built(drawn: Any) -> Any:
    """What was drawn, with the hostile values in place of their names."""
    if isinstance(drawn, Hostile):
        return HOSTILE_VALUES[drawn]
    if isinstance(drawn, dict):
        return {key: built(value) for key, value in drawn.items()}
    if isinstance(drawn, list):
        return [built(value) for value in drawn]
    if isinstance(drawn, tuple):
        return Event(*map(built, drawn))
    return drawn


_anything = st.recursive(
    st.one_of(
        st.none(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=20),
        st.binary(max_size=5),
        st.sampled_from(sorted(HOSTILE_VALUES)).map(Hostile),
        st.complex_numbers(),
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": _anything,
            "kind": _anything,
            "status": _anything,
            "start_time": _anything,
            "end_time": _anything,
            "attributes": _anything
            | attributes
            | st.dictionaries(st.text(st.characters(), max_size=8), _anything, max_size=4),
            "events": _anything
            | st.lists(st.tuples(_anything, _anything, _anything | st.integers(0, 9)), max_size=3),
            "links": _anything,
            "parent": _anything,
            "resource": st.just(5) | _anything,
            "instrumentation_scope": _anything,
        },
    )
)
def test_anything_at_all(fields: dict[str, Any]) -> None:
    assert len(good_neighbours(hand_made(**built(fields)))) <= 1
