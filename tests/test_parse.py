"""Batches of a request that was serialised before, as a spool has them, and how it is cut in two."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan

from otlpfast import SpanBatch, encode_spans
from otlpfast._parse import count_spans

from .collector import Collector, Reply
from .exporting import Make, collector_fixture, make_fixture  # noqa: F401
from .pipeline import names, spans_of
from .spans import decode, span_lists
from .test_batch import numbered


def request_of(count: int, resources: int = 1, scopes: int = 1, size: int = 0) -> bytes:
    return encode_spans(numbered(count, resources, scopes, size))


def whereabouts(*requests: bytes) -> list[tuple[bytes, bytes, Span]]:
    """Each span in its order, with all else that its resource's and its scope's message say."""
    found = []
    for request in requests:
        for resource in decode(request).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found.append((_without(resource, "scope_spans"), _without(scope, "spans"), span))
    return found


def _without(message: object, field: str) -> bytes:
    other = type(message)()
    other.CopyFrom(message)  # type: ignore[attr-defined]
    other.ClearField(field)  # type: ignore[attr-defined]
    return bytes(other.SerializeToString(deterministic=True))  # type: ignore[attr-defined]


# --- the batch


def test_a_batch_of_a_request() -> None:
    request = request_of(5)
    batch = SpanBatch.from_request(request, 5)
    assert isinstance(batch, SpanBatch)
    assert (batch.count, batch.nbytes, batch.buffers) == (5, len(request), (request,))
    assert bytes(batch) == request
    assert repr(batch) == "<SpanBatch of 5 spans>"


def test_an_empty_request() -> None:
    batch = SpanBatch.from_request(b"", 0)
    assert (batch.count, batch.nbytes, batch.buffers, bytes(batch)) == (0, 0, (), b"")
    with pytest.raises(ValueError, match="0 spans"):
        batch.split()
    batch.release()
    assert bytes(batch) == b""


def test_it_is_released_like_any_other() -> None:
    batch = SpanBatch.from_request(request_of(4), 4)
    batch.release()
    batch.release()
    assert batch.count == 4
    for use in (lambda: batch.buffers, lambda: batch.nbytes, lambda: bytes(batch), batch.split):
        with pytest.raises(ValueError, match="released"):
            use()


@pytest.mark.parametrize("data", ["text", bytearray(b""), None])
def test_data_that_is_no_bytes(data: object) -> None:
    with pytest.raises(TypeError, match="data"):
        SpanBatch.from_request(data, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "error"), [(-1, ValueError), (1.0, TypeError), (True, TypeError)])
def test_a_count_that_is_none(count: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="count="):
        SpanBatch.from_request(b"", count)  # type: ignore[arg-type]


def test_a_collector_that_finds_it_too_large_gets_it_in_halves(collector: Collector, make: Make) -> None:
    collector.script(Reply(413), Reply(413))
    request = request_of(8, resources=2)
    outcome = make(collector).export_batch(SpanBatch.from_request(request, 8))
    assert outcome.exported == 8
    sent = [r.body for r in collector.requests]
    assert [len(spans_of(body)) for body in sent] == [8, 4, 2, 2, 4]
    assert whereabouts(*sent[2:]) == whereabouts(request)


# --- its halves


@settings(max_examples=50)
@given(span_lists())
def test_halves_hold_the_same_spans_in_their_order(spans: list[ReadableSpan]) -> None:
    request = encode_spans(spans)
    batch = SpanBatch.from_request(request, len(spans))
    if len(spans) < 2:
        with pytest.raises(ValueError, match="can't be split"):
            batch.split()
        return
    first, second = batch.split()
    assert (first.count, second.count) == (len(spans) // 2, len(spans) - len(spans) // 2)
    assert [len(spans_of(bytes(half))) for half in (first, second)] == [first.count, second.count]
    assert whereabouts(bytes(first), bytes(second)) == whereabouts(request)
    assert bytes(batch) == request


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0, 100, 20_000]))
@settings(max_examples=30)
def test_down_to_single_spans(count: int, resources: int, scopes: int, size: int) -> None:
    request = request_of(count, resources, scopes, size)
    pieces, parts = [], [SpanBatch.from_request(request, count)]
    while parts:
        part = parts.pop(0)
        if part.count == 1:
            pieces.append(bytes(part))
        else:
            parts = [*part.split(), *parts]
    assert [len(spans_of(piece)) for piece in pieces] == [1] * count
    assert whereabouts(*pieces) == whereabouts(request)


def _field(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    assert number < 16
    return bytes([number << 3 | 2, len(value)]) + value


def _span(name: str) -> bytes:
    return _field(2, _field(5, name.encode()))


def test_fields_in_another_order_or_unknown_come_in_both_halves() -> None:
    fixed32, fixed64, number = b"\x7d1234", b"\x7912345678", b"\x78\xff\xff\x03"
    scope = _span("a") + fixed32 + _span("b") + _field(1, _field(1, b"scope")) + _field(14, b"unknown")
    resource = _field(3, b"https://schema") + _field(2, scope) + fixed64
    request = number + _field(1, resource)
    first, second = SpanBatch.from_request(request, 2).split()
    assert whereabouts(bytes(first), bytes(second)) == whereabouts(request)
    for half, name in ((first, "a"), (second, "b")):
        assert names(spans_of(bytes(half))) == [name]
        assert all(part in bytes(half) for part in (fixed32, fixed64, number, b"unknown"))


def test_empty_resources_and_scopes_stay_on_their_side() -> None:
    empty = _field(1, _field(2, b"")) + _field(1, b"")
    one = _field(1, _field(2, _span("a")) + _field(2, b""))
    two = _field(1, _field(2, b"") + _field(2, _span("b")))
    first, second = SpanBatch.from_request(empty + one + empty + two + empty, 2).split()
    assert bytes(first) == empty + one
    assert bytes(second) == empty + two + empty


# --- what is no request


@pytest.mark.parametrize("size", [0, 20, 100, 5_000, 16_200, 16_400, 70_000])
def test_spans_of_any_size_are_counted(size: int) -> None:
    spans = numbered(3) + [span for _ in range(2) for span in numbered(4, 2, 2, size)] + numbered(2)
    assert count_spans(encode_spans(spans)) == 13


def test_a_request_with_more_or_fewer_spans_than_it_should_have() -> None:
    with pytest.raises(ValueError, match="has 4 spans and not 5"):
        SpanBatch.from_request(request_of(4), 5).split()
    with pytest.raises(ValueError, match="has 4 spans and not 3"):
        SpanBatch.from_request(request_of(4), 3).split()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff" * 20, "does not end"),
        (b"\x0a\xff", "does not end"),
        (b"\x0a\x05abc", "cut off"),
        (b"\x0a" + b"\xff" * 9 + b"\x7f", "cut off"),
        (b"\x0d123", "cut off"),
        (b"\x00\x00", "number 0"),
        (b"\x80\x80\x80\x80\x20\x00", "number 1073741824"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0f", "wire type 7"),
        (_field(1, b"\x12\x05"), "cut off"),
        (_field(1, _field(2, b"\x12\x7f")), "cut off"),
        (_field(1, _field(2, b"\x12\x7f\x00")), "cut off"),
    ],
)
def test_malformed_messages(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SpanBatch.from_request(data, 2).split()


def test_cut_off_anywhere() -> None:
    request = request_of(3, resources=2)
    for end in range(len(request)):
        with pytest.raises(ValueError, match=r"protobuf|spans"):
            SpanBatch.from_request(request[:end], 3).split()


def _split_anyway(data: bytes, count: int) -> None:
    try:
        halves = SpanBatch.from_request(data, count).split()
    except ValueError:
        return
    assert bytes(halves[0]) and bytes(halves[1])


@given(st.binary(max_size=300), st.integers(0, 5))
def test_any_bytes(data: bytes, count: int) -> None:
    _split_anyway(data, count)


@given(st.data())
def test_requests_with_changed_bytes(data: st.DataObject) -> None:
    request = bytearray(request_of(4, resources=2))
    for _ in range(data.draw(st.integers(1, 3))):
        request[data.draw(st.integers(0, len(request) - 1))] = data.draw(st.integers(0, 255))
    _split_anyway(bytes(request), 4)
