"""``encode_spans`` gives what the official encoder gives, for every span that one can encode."""

from __future__ import annotations

import array
import enum
from collections import OrderedDict, UserDict, UserList, namedtuple
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import NonRecordingSpan as Remote

from otlpfast import _pure
from otlpfast._impl import encode_spans

from .spans import Keep, decode, hand_made, official, provider, span_lists, stock_spans


def attribute_value(value: Any) -> Any:
    """What arrives for one attribute value."""
    request = decode(encode_spans([hand_made(attributes={"k": value})]))
    return request.resource_spans[0].scope_spans[0].spans[0].attributes[0].value


def numbers(value: Any) -> list[int | float | bool | str]:
    return [getattr(item, item.WhichOneof("value")) for item in attribute_value(value).array_value.values]


@given(span_lists())
def test_equals_the_official_encoder(spans: list[ReadableSpan]) -> None:
    assert decode(encode_spans(spans)) == official(spans)


@given(span_lists())
def test_both_implementations_give_the_same_bytes(spans: list[ReadableSpan]) -> None:
    assert encode_spans(spans) == _pure.encode_spans(spans)


def test_stock_spans_are_byte_for_byte_the_official_ones() -> None:
    spans = stock_spans(600)
    assert encode_spans(spans) == official(spans).SerializeToString()


def test_nothing_encodes_to_nothing() -> None:
    assert encode_spans([]) == b""
    assert encode_spans(iter(())) == b""


def test_a_full_trace_of_the_sdk() -> None:
    keep = Keep()
    limits = SpanLimits(
        max_span_attributes=3, max_events=2, max_links=1, max_event_attributes=1, max_attribute_length=5
    )
    resource = Resource({"service.name": "shop", "list": [1, 2]}, "https://schema/r")
    tracer = provider(keep, resource=resource, span_limits=limits).get_tracer(
        "t", "2", "https://schema/s", {"scope": True}
    )
    remote = SpanContext(7, 8, True, TraceFlags(3), TraceState([("vendor", "a"), ("other", "b")]))
    with tracer.start_as_current_span("root", set_span_in_context(Remote(remote)), SpanKind.CONSUMER) as span:
        span.set_attributes({f"key{i}": "a long value" for i in range(5)})
        for i in range(4):
            span.add_event(f"event {i}", {"a": 1, "b": 2}, timestamp=10 + i)
        span.add_link(remote, {"a": 1})
        span.add_link(SpanContext(9, 10, False), {"a": 1, "b": [True]})
        with (
            tracer.start_as_current_span("child"),
            pytest.raises(ZeroDivisionError),
            tracer.start_as_current_span("x"),
        ):
            raise ZeroDivisionError("by zero")
        span.set_status(StatusCode.ERROR, "it failed")
    request = decode(encode_spans(keep.spans))
    assert request == official(keep.spans)
    root = request.resource_spans[0].scope_spans[0].spans[-1]
    assert (root.dropped_attributes_count, root.dropped_events_count, root.dropped_links_count) == (2, 2, 1)
    assert root.trace_state == "vendor=a,other=b"


class TestDocumentedDifferences:
    def test_flags_carry_the_trace_flags(self) -> None:
        context = SpanContext(1, 2, False, TraceFlags(0x83))
        link = Link(SpanContext(3, 4, True, TraceFlags(0x01)))
        span = hand_made(context=context, parent=SpanContext(1, 9, True), links=[link])
        message = decode(encode_spans([span])).resource_spans[0].scope_spans[0].spans[0]
        assert message.flags == 0x300 | 0x83
        assert message.links[0].flags == 0x300 | 0x01

    def test_links_carry_their_trace_state(self) -> None:
        link = Link(SpanContext(3, 4, True, TraceFlags(1), TraceState([("a", "1"), ("b", "2")])))
        message = decode(encode_spans([hand_made(links=[link])])).resource_spans[0].scope_spans[0].spans[0]
        assert message.links[0].trace_state == "a=1,b=2"

    def test_scopes_carry_their_dropped_count(self) -> None:
        scope = InstrumentationScope("s", attributes={"": 1, "k": 2})
        message = (
            decode(encode_spans([hand_made(instrumentation_scope=scope)]))
            .resource_spans[0]
            .scope_spans[0]
            .scope
        )
        assert message.dropped_attributes_count == 1


class TestGrouping:
    def test_equal_resources_and_scopes_share_a_group(self) -> None:
        def made(service: str, scope: str) -> ReadableSpan:
            return hand_made(
                resource=Resource({"service.name": service}),
                instrumentation_scope=InstrumentationScope(scope),
            )

        spans = [made("a", "x"), made("b", "x"), made("a", "y"), made("b", "x"), made("a", "x")]
        request = decode(encode_spans(spans))
        assert request == official(spans)
        assert [[len(s.spans) for s in r.scope_spans] for r in request.resource_spans] == [[2, 1], [2]]

    def test_many_resources_are_no_leak(self) -> None:
        spans = [hand_made(resource=Resource({"n": i})) for i in range(3000)]
        assert decode(encode_spans(spans)) == official(spans)

    def test_the_table_may_forget_a_group_while_it_grows(self) -> None:
        first = hand_made(resource=Resource({"n": "first"}))
        spans = [first, *(hand_made(resource=Resource({"n": i})) for i in range(2500)), first]
        request = decode(encode_spans(spans))
        assert request == official(spans)
        assert len(request.resource_spans[0].scope_spans[0].spans) == 2

    def test_a_span_without_scope(self) -> None:
        spans = [hand_made(instrumentation_scope=None)]
        assert decode(encode_spans(spans)) == official(spans)


class Color(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class TestValues:
    @pytest.mark.parametrize(
        "value",
        [
            Color.RED,
            Level.HIGH,
            namedtuple("Point", "x y")(1, 2),
            OrderedDict(a=1),
            MappingProxyType({"a": [1, "é"]}),
            UserDict(a={"b": None}),
            UserList([1, [2]]),
            range(5),
            bytearray(b"ab"),
            memoryview(b"ab"),
            array.array("d", [1.5, -2.0]),
            {1: "a", None: "b"},
            np.float64(1.5),
            np.str_("text"),
            [[[]]],
            [{}],
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_kinds_that_the_official_encoder_takes(self, value: Any) -> None:
        spans = [hand_made(attributes={"k": value})]
        assert decode(encode_spans(spans)) == official(spans)

    @pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
    def test_integer_arrays_come_straight_from_memory(self, dtype: str) -> None:
        info = np.iinfo(dtype)
        values = [info.min, 0, 1, info.max]
        wanted = [value if value < 2**63 else str(value) for value in values]
        assert numbers(np.array(values, dtype)) == wanted

    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
    def test_float_arrays(self, dtype: str) -> None:
        values = np.array([0.0, -1.5, 65504.0, float("inf"), 6e-8], dtype)
        assert numbers(values) == [float(value) for value in values]

    def test_other_buffers(self) -> None:
        assert numbers(np.array([True, False])) == [True, False]
        assert numbers(np.arange(10)[::-3]) == [9, 6, 3, 0]
        assert numbers(np.array([1, 2], ">i4")) == [1, 2]
        assert numbers(array.array("H", [1, 65535])) == [1, 65535]
        assert numbers(memoryview(array.array("q", [-1]))) == [-1]
        assert numbers(np.array([], "f8")) == []
        rows = attribute_value(np.array([[1, 2], [3, 4]])).array_value.values
        assert [[item.int_value for item in row.array_value.values] for row in rows] == [[1, 2], [3, 4]]

    @pytest.mark.parametrize(
        "value", [np.int64(-3), np.uint8(255), np.float32(0.5), np.bool_(True), np.float16(2)]
    )
    def test_numpy_scalars_become_numbers(self, value: Any) -> None:
        found = attribute_value(value)
        assert getattr(found, found.WhichOneof("value")) == value.item()

    def test_numpy_kinds_that_are_no_numbers_become_text(self) -> None:
        assert attribute_value(np.datetime64("2020-01-01")).string_value == "2020-01-01"
        assert attribute_value(np.array([1 + 2j])[0]).string_value == "(1+2j)"

    def test_a_big_array_is_all_there(self) -> None:
        assert numbers(np.arange(100_000)) == list(range(100_000))

    @pytest.mark.parametrize("depth", [1, 10, 46])
    def test_lists_nest_as_deep_as_a_receiver_takes(self, depth: int) -> None:
        value: Any = "end"
        for _ in range(depth):
            value = [value]
        spans = [hand_made(attributes={"k": value})]
        assert decode(encode_spans(spans)) == official(spans)

    def test_reads_live_spans_too(self) -> None:
        tracer = provider(Keep()).get_tracer("t")
        span = tracer.start_span("running")
        span.set_attribute("a", 1)
        assert decode(encode_spans([span])) == official([span])  # type: ignore[list-item]


def test_numpy_is_never_imported(core: ModuleType) -> None:
    import subprocess
    import sys

    code = "import sys, otlpfast; assert 'numpy' not in sys.modules; assert 'requests' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
