"""A tracer that the configurator has switched off gives what the SDK's gives: the parent's context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context.context import Context
from opentelemetry.sdk.trace import TracerProvider, _disable_tracer_configurator
from opentelemetry.trace import (
    INVALID_SPAN,
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
)

import otlpfast

from .test_trace_surface import made

OPTIONS: dict[str, Any] = {"shutdown_on_exit": False, "_tracer_configurator": _disable_tracer_configurator}
REMOTE = SpanContext(5, 6, True, TraceFlags(1), TraceState([("a", "1")]))
HALF = SpanContext(5, 0, True)


def within(span: Any) -> Context:
    return trace.set_span_in_context(span, Context())


PARENTS: dict[str, Callable[[], Context]] = {
    "nothing": Context,
    "another entry": lambda: Context({"key": "value"}),
    "an invalid span": lambda: within(INVALID_SPAN),
    "half a context": lambda: within(NonRecordingSpan(HALF)),
    "a remote span": lambda: within(NonRecordingSpan(REMOTE)),
    "a span of the SDK's": lambda: within(
        TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s")
    ),
    "a span of otlpfast's": lambda: within(made().get_tracer("t").start_span("s")),
    "no span": lambda: within("no span"),
}


@pytest.mark.parametrize("parent", PARENTS)
@pytest.mark.parametrize("how", ["given", "current"])
def test_a_span_has_the_parents_context(parent: str, how: str) -> None:
    base = PARENTS[parent]()
    expected = trace.get_current_span(base).get_span_context()
    for provider in (otlpfast.TracerProvider(**OPTIONS), TracerProvider(**OPTIONS)):
        tracer = provider.get_tracer("t")
        token = trace.context_api.attach(base) if how == "current" else None
        try:
            span = tracer.start_span("span", base if token is None else None)
            with tracer.start_as_current_span("with") as entered:
                assert trace.get_current_span() is entered
        finally:
            if token is not None:
                trace.context_api.detach(token)
        assert isinstance(span, NonRecordingSpan) and not span.is_recording()
        assert span.get_span_context() == expected
        assert span.get_span_context().is_remote is expected.is_remote
        assert list(span.get_span_context().trace_state.items()) == list(expected.trace_state.items())
        assert repr(span) == f"NonRecordingSpan({expected!r})"


def test_without_a_parent_the_context_is_the_invalid_one_itself() -> None:
    tracer = otlpfast.TracerProvider(**OPTIONS).get_tracer("t")
    first, second = tracer.start_span("first"), tracer.start_span("second")
    assert first.get_span_context() is second.get_span_context() is INVALID_SPAN_CONTEXT
    assert first is not second
    first.own = 1  # type: ignore[attr-defined]
    assert not hasattr(second, "own")


def test_what_is_below_it_goes_on_with_the_trace_of_what_is_above() -> None:
    off = otlpfast.TracerProvider(**OPTIONS).get_tracer("off")
    tracer = made().get_tracer("on")
    with tracer.start_as_current_span("above") as above, off.start_as_current_span("off"):
        below: Any = tracer.start_span("below")
    assert below.parent == above.get_span_context()
    with off.start_as_current_span("off"):
        assert tracer.start_span("root").parent is None  # type: ignore[attr-defined]
