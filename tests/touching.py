"""Code that touches the current span in every way there is, to be run in the middle of anything else."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import (
    Link,
    SpanContext,
    StatusCode,
    TraceFlags,
    Tracer,
    format_span_id,
    get_current_span,
)

from otlpfast import IMPLEMENTATION, BatchSpanProcessor, _given
from otlpfast._attribute_log import warnings_of_full_attributes

from .pipeline import Encoded, account, end_spans
from .traced import native, roomy

# The limit; the SDK's own containers go over it where a value that they let go of adds another.
MOST = 128 if IMPLEMENTATION == "c" else 140
ELSEWHERE = SpanContext(0xABC, 0xDEF, True, TraceFlags(1))


def hush(interval: float = 60.0) -> None:
    """Nothing on stderr; otlpfast's own warnings at most once in so many seconds."""
    for name in ("opentelemetry", "otlpfast"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    _given._log._interval = warnings_of_full_attributes.interval = interval


class Touch:
    """Does to the current span whatever can be done to one, and starts and ends others, 3 a call."""

    def __init__(self, tracer: Tracer, *, ends: bool = False, deepest: int = 2) -> None:
        self.tracer, self.ends, self.deepest = tracer, ends, deepest
        self.count = self.depth = self.armed = 0

    def __call__(self, *_: object) -> None:
        if not self.armed or self.depth >= self.deepest:
            return
        self.depth += 1
        try:
            # Not in the context that is current: a finaliser may run in the middle of a ContextVar.set(), and
            # CPython's own memory is not safe where that sets the variable in the same context.
            copy_context().run(lambda: self._touch(get_current_span()))
        finally:
            self.depth -= 1

    def _touch(self, span: Any) -> None:
        self.count += 1
        number = self.count
        span.set_attribute("touched", number)
        span.set_attribute(f"touched {number % 40}", [number, "text"])
        span.set_attributes({"one": 1.5, "two": True, f"three {number % 3}": {"a": [1]}})
        span.add_event("touched", {"number": number})
        span.add_link(ELSEWHERE, {"number": number})
        span.set_status(StatusCode.ERROR, "touched")
        span.record_exception(KeyError(number))
        if hasattr(span, "attributes"):
            span.update_name(span.name)
            read_all(span, also_json=number % 16 == 0)
        if self.ends:
            span.end()
        with self.tracer.start_as_current_span("inside", attributes={"number": number}) as inside:
            inside.set_attribute("parent", _id(span))
            self.tracer.start_span("innermost", links=[Link(span.get_span_context())]).end()
        with self.tracer.start_span("aside", attributes={"parent": _id(span)}) as aside:
            aside.add_event("event")


def _id(span: Any) -> str:
    return format_span_id(span.get_span_context().span_id)


def read_all(span: Any, also_json: bool = True) -> None:
    """Reads the span in every way; what is read has to be whole."""
    for pairs in (dict(span.attributes), dict(span._attributes), dict(span._readable_span().attributes)):
        assert all(type(key) is str or isinstance(key, str) for key in pairs)
    for event in span.events:
        assert isinstance(event.name, str) and event.timestamp > 0
        dict(event.attributes)
    for link in span.links:
        assert link.context.span_id
    assert len(span._events) <= MOST and len(span._links) <= MOST and len(span._attributes) <= MOST
    copied = copy.copy(span)
    assert copied.get_span_context().span_id == span.get_span_context().span_id
    assert span.name and span.status.status_code in StatusCode and span.kind and span.start_time
    assert span.dropped_attributes >= 0 and span.dropped_events >= 0 and span.dropped_links >= 0
    assert span.resource.attributes and span.instrumentation_scope.name
    assert repr(span)
    if also_json:
        assert span._readable_span().to_json()


def operations(tracer: Tracer, give: Callable[[], dict[str, Any]]) -> dict[str, Callable[[Any], object]]:
    """Everything that is done with a span, by name; ``give()`` makes the attributes that it is given."""

    def started(span: Any) -> None:
        with tracer.start_as_current_span("started", attributes=give(), links=[Link(ELSEWHERE, give())]):
            pass

    def raised(span: Any) -> None:
        try:
            with tracer.start_as_current_span("raised"):
                raise ValueError(next(iter(give().values()), "nothing"))
        except ValueError:
            pass

    return {
        "set_attribute": lambda span: [span.set_attribute(key, value) for key, value in list(give().items())],
        "set_attributes": lambda span: span.set_attributes(give()),
        "add_event": lambda span: span.add_event("event", give()),
        "add_link": lambda span: span.add_link(ELSEWHERE, give()),
        "record_exception": lambda span: span.record_exception(ValueError(*give().values()), give()),
        "set_status": lambda span: span.set_status(StatusCode.ERROR, "description"),
        "update_name": lambda span: span.update_name("operation"),
        "read": read_all,
        "start_span": lambda span: tracer.start_span(
            "child", attributes=give(), links=[Link(ELSEWHERE)]
        ).end(),
        "start_as_current_span": started,
        "raise": raised,
    }


def turn(tracer: Tracer, does: dict[str, Callable[[Any], object]]) -> None:
    """One span on which all is done, and on which all is done again when it has ended."""
    with tracer.start_as_current_span("operation") as span:
        for do in does.values():
            do(span)
    for do in does.values():
        do(span)


def check(exporter: Encoded, processor: BatchSpanProcessor) -> list[SpanMessage]:
    """What arrived: every span that ended, once, whole, with the parent that it was given."""
    assert processor.force_flush()
    spans = exporter.spans
    stats = processor.stats()
    assert stats == account(len(spans), exported=len(spans))
    check_whole(spans)
    processor.shutdown()
    return spans


def check_whole(spans: Sequence[SpanMessage]) -> None:
    ids = Counter(span.span_id for span in spans)
    assert max(ids.values()) == 1
    for span in spans:
        attributes = {pair.key: pair.value for pair in span.attributes}
        assert len(attributes) == len(span.attributes) <= MOST
        assert len(span.events) <= MOST and len(span.links) <= MOST
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        if "parent" in attributes:
            assert attributes["parent"].string_value == (span.parent_span_id.hex() or "0" * 16)
        for event in span.events:
            assert event.name in ("event", "touched", "exception")
            assert event.name != "touched" or event.attributes[0].key == "number"


def plain() -> dict[str, Any]:
    """Attributes without anything in them that could run code."""
    return {"text": "text", "list": [1, 2.5, None], "map": {"a": {"b": "c"}}, "number": 2**40}


class Pipeline:
    """A provider with a batch processor, and what touches the current span."""

    def __init__(self, ends: bool = False, *processors: SpanProcessor, **options: Any) -> None:
        hush(interval=0)
        self.exporter = Encoded()
        self.processor = roomy(self.exporter, max_export_batch_size=50)
        self.provider = native(self.processor, *processors, **options)
        self.tracer: Tracer = self.provider.get_tracer("tests")
        self.touch = Touch(self.tracer, ends=ends)
        # The export thread runs from now on: nothing is to come between the steps of its start.
        end_spans(self.tracer, 50, "first")
        assert self.processor.force_flush()

    def check(self, least: int) -> dict[str, int]:
        self.touch.armed = False
        spans = check(self.exporter, self.processor)
        assert self.touch.count >= least, self.touch.count
        assert len(spans) >= 3 * self.touch.count
        return {"spans": len(spans), "touched": self.touch.count}
