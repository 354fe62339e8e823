"""SpanBatch and ExportOutcome: what an exporter is given and answers."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from otlpfast import ExportOutcome, SpanBatch, encode_spans
from otlpfast._impl import BatchBuilder

from .pipeline import names, spans_of
from .spans import decode, hand_made, span_lists, stock_spans


def batch_of(spans: list[ReadableSpan]) -> SpanBatch:
    builder = BatchBuilder()
    for span in spans:
        builder.add(span)
    return SpanBatch(builder.finish())


def numbered(count: int, resources: int = 1, scopes: int = 1, size: int = 0) -> list[ReadableSpan]:
    """Spans whose names tell their order, of so many resources and scopes in turn."""
    return [
        hand_made(
            name=f"span {number}",
            context=SpanContext(1, number + 1, False, TraceFlags(1)),
            resource=Resource({"service.name": str(number % resources)}, "https://resource/1"),
            instrumentation_scope=InstrumentationScope(
                f"scope {number // resources % scopes}", "1", "https://scope/1"
            ),
            attributes={"text": "x" * size},
        )
        for number in range(count)
    ]


def test_a_builder_says_what_it_holds() -> None:
    builder = BatchBuilder()
    sizes = [builder.add(span) for span in stock_spans(3)]
    assert (builder.count, builder.nbytes) == (3, sum(sizes))


@settings(max_examples=25)
@given(span_lists())
def test_its_buffers_are_the_request(spans: list[ReadableSpan]) -> None:
    batch = batch_of(spans)
    assert batch.count == len(spans)
    assert b"".join(batch.buffers) == bytes(batch) == encode_spans(spans)
    assert batch.nbytes == len(bytes(batch))
    batch.release()


def test_its_buffers_can_not_be_written() -> None:
    batch = batch_of(stock_spans(1000))
    assert isinstance(batch.buffers, tuple)
    for buffer in batch.buffers:
        assert isinstance(buffer, (bytes, memoryview))
        assert memoryview(buffer).readonly
        assert memoryview(buffer).contiguous


def test_an_empty_batch() -> None:
    batch = batch_of([])
    assert (batch.count, batch.nbytes, batch.buffers, bytes(batch)) == (0, 0, (), b"")
    with pytest.raises(ValueError, match="0 spans"):
        batch.split()
    batch.release()
    assert bytes(batch) == b""


def test_a_released_batch_says_so() -> None:
    batch = batch_of(numbered(4))
    batch.release()
    batch.release()
    assert batch.count == 4
    for use in (lambda: batch.buffers, lambda: batch.nbytes, lambda: bytes(batch), batch.split):
        with pytest.raises(ValueError, match="released"):
            use()


def test_its_repr_says_how_many() -> None:
    assert repr(batch_of(numbered(3))) == "<SpanBatch of 3 spans>"


def test_releasing_leaves_views_alone() -> None:
    batch = batch_of(numbered(50))
    views, before = batch.buffers, bytes(batch)
    batch.release()
    batch_of(numbered(500))  # would write over memory that was given back too early
    assert b"".join(views) == before


# --- split


def by_scope(*requests: bytes) -> dict[tuple[str, str], list[str]]:
    """The names of the spans of each resource and scope, in their order over several requests."""
    found: dict[tuple[str, str], list[str]] = {}
    for request in requests:
        for resource in decode(request).resource_spans:
            for scope in resource.scope_spans:
                key = (resource.resource.attributes[0].value.string_value, scope.scope.name)
                found.setdefault(key, []).extend(names(scope.spans))
    return found


@pytest.mark.parametrize("count", [2, 3, 5, 64, 101])
@pytest.mark.parametrize(("resources", "scopes"), [(1, 1), (3, 2), (1, 7)])
@pytest.mark.parametrize("size", [0, 200, 20_000])  # smaller and larger than the memory that spans share
def test_halves(count: int, resources: int, scopes: int, size: int) -> None:
    spans = numbered(count, resources, scopes, size)
    whole = batch_of(spans)
    before = bytes(whole)
    first, second = whole.split()
    assert (first.count, second.count) == (count // 2, count - count // 2)
    assert bytes(whole) == before
    assert by_scope(bytes(first), bytes(second)) == by_scope(before)
    by_id = {span.span_id: span for span in spans_of(before)}
    assert all(by_id[span.span_id] == span for half in (first, second) for span in spans_of(bytes(half)))
    for half in (first, second):
        schemas = {
            (r.schema_url, s.schema_url) for r in decode(bytes(half)).resource_spans for s in r.scope_spans
        }
        assert schemas == {("https://resource/1", "https://scope/1")}


@given(st.integers(1, 200), st.integers(1, 4), st.integers(1, 4))
def test_down_to_single_spans(count: int, resources: int, scopes: int) -> None:
    whole = batch_of(numbered(count, resources, scopes))
    pieces, parts = [], [whole]
    while parts:
        part = parts.pop(0)
        if part.count == 1:
            pieces.append(part)
        else:
            parts = [*part.split(), *parts]
    assert [len(spans_of(bytes(piece))) for piece in pieces] == [1] * count
    assert by_scope(*map(bytes, pieces)) == by_scope(bytes(whole))


def test_halves_share_the_memory() -> None:
    whole = batch_of(numbered(2, size=100_000))
    first, second = whole.split()
    for half in (first, second):
        large = [view for view in half.buffers if memoryview(view).nbytes > 1000]
        assert all(
            any(memoryview(mine).obj is memoryview(theirs).obj for theirs in whole.buffers) for mine in large
        )


def test_one_span_can_not_be_split() -> None:
    with pytest.raises(ValueError, match="1 span"):
        batch_of(numbered(1)).split()


# --- outcomes


def test_an_outcome() -> None:
    assert ExportOutcome() == ExportOutcome(exported=0, rejected=0, failed=0)
    outcome = ExportOutcome(3, 2, 1, 4)
    assert (outcome.exported, outcome.rejected, outcome.failed, outcome.too_large) == (3, 2, 1, 4)
    assert (outcome.remains, ExportOutcome(3, 2, 1, 4, (batch_of(numbered(1)),))) == ((), outcome)
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome.exported = 4  # type: ignore[misc]
    assert not hasattr(outcome, "__dict__")
