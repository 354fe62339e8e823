"""What programs seldom do with tracers and spans."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import opentelemetry.sdk.trace
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags, get_current_span

import otlpfast
import otlpfast.trace
from otlpfast._impl import IMPLEMENTATION, BufferPool

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
    with pytest.raises(TypeError, match="read-write bytes-like object"):
        struct.pack_into("B", BufferPool(1).acquire(), 0, 1)


def test_a_with_is_for_one_entry_at_a_time() -> None:
    scope = tracer().start_as_current_span("a")
    with scope, pytest.raises((RuntimeError, AttributeError)):  # the API's own raises the latter
        scope.__enter__()


def test_a_function_is_decorated_by_the_parameters_name() -> None:
    assert tracer().start_as_current_span("a")(func=lambda: get_current_span().is_recording())()
    with pytest.raises(TypeError):
        tracer().start_as_current_span("a")(function=lambda: None)


def test_a_start_span_that_comes_between_call_and_with_is_the_one_that_starts() -> None:
    changed = tracer()
    started, start = [], changed.start_span
    scope = changed.start_as_current_span("a")
    changed.start_span = lambda *given, **named: started.append(start(*given, **named)) or started[-1]
    with scope as span:
        assert get_current_span() is span is started[0]


def test_a_class_of_ones_own_is_no_tracer_without_what_the_sdks_takes() -> None:
    with pytest.raises(TypeError, match=r"required positional arguments"):
        type("Mine", (otlpfast.trace.Tracer,), {})()
