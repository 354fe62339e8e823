"""Turns whatever a span carries into plain values that can be encoded without running anybody's code.

Both implementations use it, so both give the same bytes. The compiled core comes here only when it meets
something it can't read as it is: a subclass, a cyclic list, a NumPy array, a number beyond 64 bits. All
foreign code (``__str__``, ``__iter__``, properties, buffers) runs here, before any state is touched, and
whatever it raises stays here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from math import prod
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

MAX_DEPTH = 94
"""How many protobuf messages an attribute value may nest: a list takes 2, a map 3.

Receivers refuse more than 100 in all.
"""
MAX_ITEMS = 1_000_000
"""How many list and map entries one span may carry in nested values; what comes after them is left out."""
CYCLE = "<cyclic reference>"
TOO_DEEP = "<nested too deeply>"

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_UINT64_MAX = 2**64 - 1
_UINT32_MAX = 2**32 - 1
_NUMERIC_FORMATS = frozenset("bBhHiIlLqQnN?efd")
_NATIVE_PREFIX = ("@", "=", "<") if memoryview(b"\1\0").cast("H")[0] == 1 else ("@", "=", ">")


def numeric_code(view: memoryview) -> str | None:
    """The one-letter code of a view whose elements are numbers in this machine's byte order, or None."""
    code = view.format[1:] if view.format[:1] in _NATIVE_PREFIX else view.format
    return code if code in _NUMERIC_FORMATS and view.itemsize <= 8 else None


def view_items(view: memoryview) -> list[Any]:
    """The numbers in a view of which ``numeric_code()`` says that it has some."""
    code = numeric_code(view)
    if code == "e" or view.format[0] in "=<>":
        # tolist() knows native formats alone; the same bytes under the machine's own letter mean the same.
        return [item for (item,) in struct.iter_unpack(f"={code}", view.tobytes())]
    return view.tolist()


class _Budget:
    """How many entries the nested values of one span may still have."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_ITEMS

    def take(self, items: Iterable[Any]) -> list[Any]:
        taken = list(islice(items, self.left))
        self.left -= len(taken)
        return taken


def plain_text(value: object) -> str:
    """``str(value)`` as an exact str; a placeholder where that raises."""
    try:
        return str.__str__(value) if isinstance(value, str) else str.__str__(str(value))
    except Exception:
        return f"<unprintable {type(value).__name__} object>"


def _has_text(value: object) -> bool:
    cls = type(value)
    return cls.__str__ is not object.__str__ or cls.__repr__ is not object.__repr__


def _plain_int(value: int) -> int | str:
    number = int.__add__(value, 0)
    if INT64_MIN <= number <= INT64_MAX:
        return number
    try:
        return int.__repr__(number)
    except ValueError:  # more digits than sys.get_int_max_str_digits() allows
        return hex(number)


def _buffer_value(value: object, depth: int, budget: _Budget) -> Any:
    """The value of an object with a buffer: a view (1-D numbers), a number (0-D), nested lists (n-D)."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind and kind not in "biuf":
        raise TypeError("not numbers")
    view = memoryview(value)  # type: ignore[arg-type]
    if view.ndim == 1 and numeric_code(view) is not None and not view.suboffsets:
        if depth + 2 > MAX_DEPTH:
            return TOO_DEEP
        view = view[: budget.left]
        budget.left -= len(view)
        return view
    if prod(view.shape or ()) > budget.left:  # a broadcast array can have any number of items in no memory
        raise ValueError("too many items")
    items = value.tolist() if hasattr(value, "tolist") else view.tolist()
    if type(items) is type(value):
        raise TypeError("no plain number")
    return _plain(items, depth, (), budget)


def _container(value: Any, depth: int, parents: tuple[int, ...], budget: _Budget) -> Any:
    if id(value) in parents:
        return CYCLE
    parents = (*parents, id(value))
    if isinstance(value, Mapping):
        if depth + 3 > MAX_DEPTH:
            return TOO_DEEP
        return {
            plain_text(key): _plain(item, depth + 3, parents, budget)
            for key, item in budget.take(value.items())
        }
    if depth + 2 > MAX_DEPTH:
        return TOO_DEEP
    return tuple(_plain(item, depth + 2, parents, budget) for item in budget.take(value))


def _plain(value: Any, depth: int, parents: tuple[int, ...], budget: _Budget) -> Any:
    cls = type(value)
    if value is None or cls is bool or cls is str or cls is float or cls is bytes:
        return value
    try:
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return _plain_int(value)
        if isinstance(value, float):
            return float.__pos__(value)
        if isinstance(value, bytes):
            return b"".join((value,))
        if cls is not tuple and cls is not list and cls is not dict:
            try:
                return _buffer_value(value, depth, budget)
            except (TypeError, BufferError, ValueError, NotImplementedError):
                pass
        if isinstance(value, (Sequence, Mapping)):
            return _container(value, depth, parents, budget)
    except Exception:
        return f"<unprintable {cls.__name__} object>"
    return plain_text(value) if _has_text(value) else None


def plain_value(value: object) -> Any:
    """An attribute value as None, bool, int (64 bits), float, str, bytes, tuple, dict and memoryview alone.

    A memoryview in it is of one-dimensional numbers. Never raises. The copy shares nothing that can change,
    save the memory behind a buffer.
    """
    return _plain(value, 0, (), _Budget())


def _without_views(value: Any) -> Any:
    if isinstance(value, memoryview):
        return tuple(_plain_int(item) if isinstance(item, int) else item for item in view_items(value))
    if isinstance(value, tuple):
        return tuple(_without_views(item) for item in value)
    if isinstance(value, dict):
        return {key: _without_views(item) for key, item in value.items()}
    return value


def frozen_value(value: object) -> Any:
    """A plain value that shares nothing with what it was made of: where that has views, this has tuples."""
    cls = type(value)
    if value is None or cls is str or cls is bool or cls is float or cls is bytes:
        return value
    return _without_views(plain_value(value))


def frozen_attributes(attributes: object) -> dict[str, Any] | None:
    """Attributes as a dict of frozen values, None for None; TypeError for what is no mapping."""
    if attributes is None:
        return None
    if not isinstance(attributes, Mapping):
        raise TypeError(f"attributes={attributes!r}: a mapping or None is allowed")
    return {key: _without_views(value) for key, value in plain_attributes(attributes).items()}


def plain_time(value: object) -> int:
    """Nanoseconds since the epoch: None is 0, a float is cut, what is no uint64 becomes the nearest."""
    try:
        number = int(value)  # type: ignore[call-overload]
    except Exception:
        return 0
    return min(max(int.__add__(number, 0), 0), _UINT64_MAX)


def _plain_count(value: object) -> int:
    return min(plain_time(value), _UINT32_MAX)


def _bounded(attributes: object, dropped: int, depth: int, budget: _Budget) -> BoundedAttributes:
    bounded = BoundedAttributes(immutable=False)
    bounded.dropped = dropped
    try:
        pairs = budget.take(attributes.items()) if isinstance(attributes, Mapping) else []
    except Exception:  # a mapping whose items() fails has no attributes to give
        pairs = []
    bounded._dict = {plain_text(key): _plain(value, depth, (), budget) for key, value in pairs}
    return bounded


def plain_attributes(attributes: object) -> dict[str, Any]:
    """The attributes of a resource or scope as an exact dict of plain values; never raises."""
    return _bounded(attributes, 0, 1, _Budget())._dict


def plain_context(context: Any) -> SpanContext:
    """An exact SpanContext; raises where the ids are no ids."""
    trace_id, span_id = int.__add__(context.trace_id, 0), int.__add__(context.span_id, 0)
    if not 0 <= trace_id < 2**128 or not 0 <= span_id < 2**64:
        raise ValueError("trace_id or span_id out of range")
    try:
        state = {plain_text(key): plain_text(value) for key, value in (context.trace_state or {}).items()}
    except Exception:
        state = {}
    trace_state = TraceState()
    trace_state._dict = state
    try:
        flags = TraceFlags(int(context.trace_flags) & 0xFF)
    except Exception:
        flags = TraceFlags.get_default()
    return SpanContext(trace_id, span_id, bool(context.is_remote), flags, trace_state)


def _plain_parent(parent: Any) -> SpanContext | None:
    try:
        return None if parent is None else plain_context(parent)
    except Exception:
        return None


def _plain_kind(kind: object) -> Any:
    try:
        return SpanKind(kind)
    except Exception:
        return None


def _plain_status(status: Any) -> Any:
    if status is None:
        return None
    plain = Status()
    try:
        plain._status_code = StatusCode(status.status_code)
        plain._description = None if status.description is None else plain_text(status.description)
    except Exception:
        return plain
    return plain


def _plain_event(event: Any, budget: _Budget) -> Event:
    dropped = _plain_count(getattr(event, "dropped_attributes", 0))
    attributes = _bounded(event.attributes, dropped, 1, budget)
    name = "" if event.name is None else plain_text(event.name)
    return Event(name, attributes, plain_time(event.timestamp))


def _plain_link(link: Any, budget: _Budget) -> Link:
    dropped = _plain_count(getattr(link, "dropped_attributes", 0))
    return Link(plain_context(link.context), _bounded(link.attributes, dropped, 1, budget))


def _list(items: Any, dropped: object, make: Any, budget: _Budget) -> BoundedList[Any]:
    """Every item that can be made plain; one that can't is counted with the dropped."""
    made: BoundedList[Any] = BoundedList(None)
    made.dropped = _plain_count(dropped)
    for item in budget.take(items or ()):
        try:
            made._dq.append(make(item, budget))  # type: ignore[attr-defined]
        except Exception:
            made.dropped = min(made.dropped + 1, _UINT32_MAX)
    return made


def _read(span: object, name: str, default: Any = None) -> Any:
    try:
        return getattr(span, name)
    except Exception:
        return default


def plain_span(span: Any) -> ReadableSpan | None:
    """A ReadableSpan of the stock class with plain values alone.

    None where there is no context with valid ids. Never raises. Reads the public properties, so that a
    subclass which overrides them is seen as it wants to be seen.
    """
    budget = _Budget()
    try:
        context = plain_context(_read(span, "context"))
        name, resource = _read(span, "name"), _read(span, "resource")
        dropped = _plain_count(_read(span, "dropped_attributes", 0))
        attributes = _bounded(_read(span, "attributes"), dropped, 0, budget)
        return ReadableSpan(
            name="" if name is None else plain_text(name),
            context=context,
            parent=_plain_parent(_read(span, "parent")),
            resource=Resource.get_empty() if resource is None else resource,
            attributes=attributes,
            events=_list(_read(span, "events"), _read(span, "dropped_events", 0), _plain_event, budget),
            links=_list(_read(span, "links"), _read(span, "dropped_links", 0), _plain_link, budget),
            kind=_plain_kind(_read(span, "kind")),
            status=_plain_status(_read(span, "status")),
            start_time=plain_time(_read(span, "start_time")),
            end_time=plain_time(_read(span, "end_time")),
            instrumentation_scope=_read(span, "instrumentation_scope"),
        )
    except Exception:
        return None
