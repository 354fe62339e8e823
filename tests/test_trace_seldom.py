"""What programs seldom do with tracers and spans."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import opentelemetry.sdk.trace
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

import otlpfast
from otlpfast._impl import IMPLEMENTATION, SpanBuffer

ELSEWHERE = SpanContext(7 << 96 | 1, 9, is_remote=True, trace_flags=TraceFlags(1))


def tracer(**options: Any) -> Any:
    return otlpfast.TracerProvider(shutdown_on_exit=False, **options).get_tracer("seldom", "1")


class Torn(Mapping[str, str]):
    """Attributes of which one can't be read."""

    def __getitem__(self, key: str) -> str:
        if key == "torn":
            raise RuntimeError(key)
        return "whole"

    def __iter__(self) -> Iterator[str]:
        return iter(("whole", "torn"))

    def __len__(self) -> int:
        return 2


def test_a_span_that_is_not_sampled_can_be_given_another_context() -> None:
    span = tracer(sampler=ALWAYS_OFF).start_span("dropped")
    span._context = ELSEWHERE
    assert span.get_span_context() == ELSEWHERE
    with pytest.raises(TypeError):
        type(span)()


def test_a_tracer_can_be_given_another_scope() -> None:
    changed = tracer()
    changed._instrumentation_scope = InstrumentationScope("another")
    changed.instrumentation_info = "info"
    assert changed.start_span("a").instrumentation_scope.name == "another"
    assert changed.instrumentation_info == "info"
    assert {"start_span", "start_as_current_span", "sampler"} <= set(dir(changed))


def test_a_link_to_nothing_is_none() -> None:
    span = tracer().start_span("a")
    span.add_link(None)
    assert not span.links


def test_events_and_links_whose_attributes_cannot_be_read_have_none() -> None:
    span = tracer().start_span("a")
    span.add_event("torn", Torn())
    span.add_link(ELSEWHERE, Torn())
    assert (span.events[0].name, span.links[0].context) == ("torn", ELSEWHERE)
    assert not span.events[0].attributes and not span.links[0].attributes


def test_who_replaces_how_the_sdk_records_exceptions_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        opentelemetry.sdk.trace.Span, "record_exception", lambda span, *given, **named: asked.append(given[0])
    )
    error = ValueError("recorded")
    tracer().start_span("a").record_exception(error)
    assert asked == [error]


def test_a_buffer_cannot_be_written_to_from_outside() -> None:
    if IMPLEMENTATION == "py":
        pytest.skip("it has no memory of its own")
    with pytest.raises((BufferError, TypeError)):
        struct.pack_into("B", SpanBuffer(), 0, 1)
