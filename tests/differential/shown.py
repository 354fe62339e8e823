"""Spans and all they hold as text that tells values, types and containers apart, to compare two runs."""

from __future__ import annotations

import contextlib
import os
import re
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import opentelemetry.trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationInfo, InstrumentationScope
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, SpanContext, Status, TraceState
from opentelemetry.trace import Span as APISpan

import otlpfast

_MACHINERY = (
    f"{Path(otlpfast.__file__).parent}{os.sep}",
    f"{Path(opentelemetry.trace.__file__).parents[1]}{os.sep}",
    contextlib.__file__,
)
_SPAN_CLASS = re.compile(r"\b_Span\(name=")
_NATIVE_CLASS = re.compile(r"'(?:otlpfast\._core\._Native|_)(\w*Span)' object")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_PRESENT = re.compile(r"2\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

_FRAME = re.compile(r'^( *(?:[|+] +)?)File "([^"]*)", line \d+, in .*\n(?:\1  .*\n)*', re.MULTILINE)
_RANDOM = 2**40  # ids from here on are taken for random ones


def plain_text(text: str) -> str:
    """Text without addresses and the names of the classes of spans."""
    return _SPAN_CLASS.sub("Span(name=", _NATIVE_CLASS.sub(r"'\1' object", _ADDRESS.sub("", text)))


def plain_stack(text: str) -> str:
    """A stack trace without the frames of the machinery."""
    return _FRAME.sub(lambda frame: "" if _is_machinery(frame[2]) else frame[0], text)


def _is_machinery(path: str) -> bool:
    return any(part in path for part in _MACHINERY)


def is_refusal(error: BaseException) -> bool:
    """Whether the machinery itself raised an exception, and not what it called or was given."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _is_machinery(frames[-1].filename)


def _frames(error: BaseException) -> list[str]:
    found = traceback.extract_tb(error.__traceback__)
    return [f"{frame.name}:{frame.line}" for frame in found if not _is_machinery(frame.filename)]


class Shown:
    """Renders what one run makes, with names for its spans, and for its ids where they are random."""

    def __init__(self, random_ids: bool) -> None:
        self.began = time.time_ns()
        self.spans: list[Any] = []
        self.random_ids = random_ids
        self._ids: dict[int, str] = {}

    def look(self, span: Any) -> str:
        """Every public property of a span."""
        return self._fields(span, _PUBLIC)

    def look_inside(self, span: Any) -> str:
        """Every underscore field that others are known to use."""
        return self._fields(span, _PRIVATE)

    def _fields(self, span: Any, fields: Mapping[str, Callable[[Shown, Any], str]]) -> str:
        lines = [self.render(span)]
        for name, read in fields.items():
            try:
                lines.append(f"{name} {read(self, span)}")
            except Exception as error:
                lines.append(plain_text(f"{name} {type(error).__name__}: {error}"))
        return "\n    ".join(lines)

    def id(self, number: Any) -> str:
        """An id: as it is where the program makes them, otherwise by the order in which they were met."""
        if self.random_ids and type(number) is int and number >= _RANDOM:
            return self._ids.setdefault(number, f"id {len(self._ids)}")
        return repr(number)

    def met(self, number: int) -> str:
        """An id that was met before."""
        return self._ids.get(number, "not met") if self.random_ids and number >= _RANDOM else repr(number)

    def is_now(self, moment: Any) -> bool:
        """Whether this is a time of this run."""
        return type(moment) is int and self.began <= moment <= time.time_ns()

    def error(self, error: BaseException, depth: int = 3) -> str:
        """An exception: its type, arguments, where it came from and what it came with."""
        text = f"{type(error).__name__}{self.render(error.args)} by {_frames(error)}"
        if depth and error.__cause__ is not None:
            text += f" because of {self.error(error.__cause__, depth - 1)}"
        elif depth and error.__context__ is not None and _frames(error.__context__):
            text += f" in {self.error(error.__context__, depth - 1)}"
        return text

    def render(self, value: Any) -> str:
        """A value as text that tells types apart."""
        for kind, write in _RENDERERS:
            if isinstance(value, kind):
                return write(self, value)
        if hasattr(value, "acquire") and hasattr(value, "release"):
            return "lock"
        if hasattr(type(value), "__enter__") and callable(value):
            return "context manager"
        return plain_text(f"{type(value).__name__}: {value!r}")

    def _scalar(self, value: Any) -> str:
        if self.is_now(value):
            return "now"
        return repr(value) if type(value) in _SCALARS else f"{type(value).__name__} {value!r}"

    def _text(self, value: str) -> str:
        text = plain_stack(value) if "Traceback (most recent call last)" in value else str.__str__(value)
        return repr(text) if type(value) is str else f"{type(value).__name__} {text!r}"

    def items(self, value: Any) -> str:
        """The entries of a mapping, in their order."""
        return ", ".join(f"{self.render(key)}: {self.render(item)}" for key, item in value.items())

    def list(self, value: Any) -> str:
        """The entries of a sequence."""
        return ", ".join(self.render(item) for item in value)

    def context(self, value: SpanContext) -> str:
        """All that is in a SpanContext."""
        ids = f"{self.id(value.trace_id)}/{self.id(value.span_id)}"
        flags = f"{type(value.trace_flags).__name__} {value.trace_flags:02x}"
        words = ("remote" if value.is_remote else "local", "valid" if value.is_valid else "invalid")
        return f"{type(value).__name__} {ids} {' '.join(words)} {flags} {self.render(value.trace_state)}"

    def with_attributes(self, value: Any) -> str:
        """An event or a link."""
        head = value.context if isinstance(value, Link) else (value.name, value.timestamp)
        attributes = f"{self.render(value.attributes)}, {value.dropped_attributes} dropped"
        return f"{type(value).__name__}({self.render(head)}, {attributes})"

    def bounded(self, value: BoundedAttributes) -> str:
        """The SDK's container of attributes: what it holds and its state."""
        state = f"{len(value)} of {value.maxlen}, {value.dropped} dropped, length {value.max_value_len}"
        frozen = "frozen" if value._immutable else "open"
        return f"{type(value).__name__}({state}, {frozen}: {self.items(value)})"

    def bounded_list(self, value: BoundedList[Any]) -> str:
        """The SDK's container of events or links."""
        state = f"{len(value)} of {value._dq.maxlen}, {value.dropped} dropped"  # type: ignore[attr-defined]
        return f"{type(value).__name__}({state}: {self.list(value)})"

    def span(self, span: Any) -> str:
        """A span by the order in which the run met them."""
        if span is INVALID_SPAN:
            return "INVALID_SPAN"
        number = next((n for n, known in enumerate(self.spans) if known is span), len(self.spans))
        if number == len(self.spans):
            self.spans.append(span)
        return f"span {number}"

    def json(self, text: str) -> str:
        """JSON of a span without the present and its machinery."""
        for number, name in self._ids.items():
            text = text.replace(f'"0x{number:032x}"', name).replace(f'"0x{number:016x}"', name)
        if "Traceback" in text:
            text = plain_stack(text.replace("\\n", "\n").replace('\\"', '"'))
        return _PRESENT.sub("now", text)


_SCALARS = (bool, int, float, bytes, type(None))
# The first that fits.
_RENDERERS: tuple[tuple[Any, Callable[[Shown, Any], str]], ...] = (
    (SpanContext, Shown.context),
    (TraceState, lambda shown, value: f"{type(value).__name__}({value.to_header()})"),
    (str, Shown._text),
    (_SCALARS, Shown._scalar),
    (APISpan, Shown.span),
    (sdk.ReadableSpan, lambda shown, value: f"{type(value).__name__} {value.name!r}"),
    (Status, lambda shown, value: f"{value.status_code} {shown.render(value.description)}"),
    (opentelemetry.trace._LinkBase, Shown.with_attributes),
    (sdk.EventBase, Shown.with_attributes),
    (BoundedAttributes, Shown.bounded),
    (BoundedList, Shown.bounded_list),
    (InstrumentationScope, lambda shown, value: f"{value!r} {shown.render(value.attributes)}"),
    (InstrumentationInfo, lambda shown, value: repr(value)),
    (Resource, lambda shown, value: f"Resource({shown.items(value.attributes)}, {value.schema_url!r})"),
    ((MappingProxyType, dict), lambda shown, value: f"{type(value).__name__}{{{shown.items(value)}}}"),
    ((list, tuple), lambda shown, value: f"{type(value).__name__}({shown.list(value)})"),
    (BaseException, lambda shown, value: shown.error(value)),
    (sdk.Tracer, lambda shown, value: f"tracer of {shown.render(value._instrumentation_scope)}"),
)


def _reader(name: str) -> Callable[[Shown, Any], str]:
    return lambda shown, span: shown.render(getattr(span, name))


def _kinds(span: Any) -> list[str]:
    kinds = (APISpan, sdk.Span, sdk._Span, sdk.ReadableSpan, NonRecordingSpan)
    return [kind.__name__ for kind in kinds if isinstance(span, kind)]


def _shared(span: Any) -> list[str]:
    names = ("_attributes", "_events", "_links", "_context", "_status", "_resource", "_instrumentation_scope")
    readable = span._readable_span()
    return [name for name in names if getattr(span, name) is getattr(readable, name)]


_PUBLIC: dict[str, Callable[[Shown, Any], str]] = {
    "is_recording()": lambda shown, span: repr(span.is_recording()),
    "get_span_context()": lambda shown, span: shown.render(span.get_span_context()),
    **{
        name: _reader(name)
        for name in ("name", "context", "kind", "parent", "status", "attributes", "events")
    },
    **{
        name: _reader(name)
        for name in ("links", "resource", "instrumentation_scope", "start_time", "end_time")
    },
    **{name: _reader(name) for name in ("dropped_attributes", "dropped_events", "dropped_links")},
    "instrumentation_info": _reader("instrumentation_info"),
    "repr": lambda shown, span: "" if shown.random_ids else plain_text(repr(span)),
    "to_json()": lambda shown, span: shown.json(span.to_json()),
    "itself": lambda shown, span: repr((span == span, span != span, bool(span), hash(span) == hash(span))),
    "is a": lambda shown, span: repr(_kinds(span)),
}

_PRIVATE: dict[str, Callable[[Shown, Any], str]] = {
    **{name: _reader(name) for name in ("_name", "_context", "_kind", "_parent", "_start_time", "_end_time")},
    **{name: _reader(name) for name in ("_attributes", "_events", "_links", "_status", "_resource", "_lock")},
    **{name: _reader(name) for name in ("_instrumentation_scope", "_instrumentation_info", "_trace_config")},
    **{name: _reader(name) for name in ("_record_exception", "_set_status_on_exception")},
    "_new_events()": lambda shown, span: shown.render(span._new_events()),
    "_new_links()": lambda shown, span: shown.render(span._new_links(())),
    "_limits": lambda shown, span: repr(span._limits),
    "_sampler": lambda shown, span: type(span._sampler).__name__,
    "_span_processor": lambda shown, span: repr(callable(span._span_processor.on_end)),
    "_readable_span()": lambda shown, span: shown.look(span._readable_span()),
    "shared with it": lambda shown, span: repr(_shared(span)),
    "own": lambda shown, span: shown.render(vars(span).get("own")),
}
