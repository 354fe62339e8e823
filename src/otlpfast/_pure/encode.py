"""Encodes a plain span, a resource and a scope, written out field by field."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, StatusCode

from .._plain import INT64_MAX, plain_attributes, plain_text, view_items
from .._protobuf import varint
from .._redacted import redacted_pairs
from .buffers import utf8
from .redaction import Redactor


def _field(tag: int, body: bytes) -> bytes:
    return varint(tag) + varint(len(body)) + body


def _string(tag: int, text: str | None) -> bytes:
    return _field(tag, utf8(text)) if text else b""


def _count(tag: int, number: int) -> bytes:
    return varint(tag) + varint(number) if number else b""


def _time(tag: int, nanoseconds: int) -> bytes:
    return varint(tag) + nanoseconds.to_bytes(8, "little") if nanoseconds else b""


def _any(value: Any) -> bytes:
    """An AnyValue."""
    if value is None:
        return b""
    if isinstance(value, str):
        return _field(0x0A, utf8(value))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        if value > INT64_MAX:  # an element of an unsigned buffer
            return _field(0x0A, str(value).encode())
        return b"\x18" + varint(value & 2**64 - 1)
    if isinstance(value, float):
        return b"\x21" + struct.pack("<d", value)
    if isinstance(value, bytes):
        return _field(0x3A, value)
    if isinstance(value, dict):
        return _field(0x32, _pairs(0x0A, value))
    items = view_items(value) if isinstance(value, memoryview) else value
    return _field(0x2A, b"".join(_field(0x0A, _any(item)) for item in items))


def _pairs(tag: int, pairs: Mapping[str, Any]) -> bytes:
    entries = (_field(0x0A, utf8(key)) + _field(0x12, _any(value)) for key, value in pairs.items())
    return b"".join(_field(tag, entry) for entry in entries)


def _attributes(tag: int, dropped_tag: int, attributes: Any) -> bytes:
    return _pairs(tag, attributes._dict) + _count(dropped_tag, attributes.dropped)


def _ids(context: SpanContext) -> bytes:
    state = ",".join(f"{key}={value}" for key, value in context.trace_state.items())
    trace_id, span_id = context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
    return b"\x0a\x10%b\x12\x08%b" % (trace_id, span_id) + _string(0x1A, state)


def _flags(tag: bytes, context: SpanContext, remote: bool) -> bytes:
    return tag + (int(context.trace_flags) | 0x100 | (0x200 if remote else 0)).to_bytes(4, "little")


def _event(event: Event) -> bytes:
    attributes = _attributes(0x1A, 0x20, event._attributes)
    return _time(0x09, event._timestamp) + _string(0x12, event._name) + attributes


def _link(link: Link) -> bytes:
    context = link._context
    attributes = _attributes(0x22, 0x28, link._attributes)
    return _ids(context) + attributes + _flags(b"\x35", context, context.is_remote)


def _status(status: Any) -> bytes:
    if status is None:
        return b""
    code = {StatusCode.OK: b"\x18\x01", StatusCode.ERROR: b"\x18\x02"}.get(status._status_code, b"")
    return _field(0x7A, _string(0x12, status._description) + code)


def _items(tag: int, dropped_tag: int, items: Any, encode: Callable[[Any], bytes]) -> bytes:
    return b"".join(_field(tag, encode(item)) for item in items._dq) + _count(dropped_tag, items.dropped)


def encode_span(span: ReadableSpan) -> bytes:
    """A ScopeSpans.spans entry, of what plain_span() made."""
    context, parent = span._context, span._parent
    assert context is not None
    body = [
        _ids(context),
        b"" if parent is None else b"\x22\x08" + parent.span_id.to_bytes(8, "big"),
        _string(0x2A, span._name),
        b"" if span._kind is None else bytes((0x30, span._kind.value + 1)),
        _time(0x39, span._start_time or 0),
        _time(0x41, span._end_time or 0),
        _attributes(0x4A, 0x50, span._attributes),
        _items(0x5A, 0x60, span._events, _event),
        _items(0x6A, 0x70, span._links, _link),
        _status(span._status),
        _flags(b"\x85\x01", context, parent is not None and parent.is_remote),
    ]
    return _field(0x12, b"".join(body))


def _entity(
    body: bytes, attributes: Any, tag: int, dropped: bytes, schema_url: str, redactor: Redactor | None
) -> tuple[bytes, bytes]:
    pairs = plain_attributes(attributes)
    if redactor is not None:
        pairs = redacted_pairs(pairs, redactor)
    return _field(0x0A, body + _pairs(tag, pairs) + dropped), _string(0x1A, schema_url)


def encode_resource(resource: Any, redactor: Redactor | None = None) -> tuple[bytes, bytes]:
    """A Resource as the (head, tail) of a ResourceSpans: field 1, and field 3 with the schema URL.

    None is an empty one.
    """
    schema_url = plain_text(getattr(resource, "schema_url", None) or "")
    return _entity(b"", getattr(resource, "attributes", None), 0x0A, b"", schema_url, redactor)


def encode_scope(scope: Any, redactor: Redactor | None = None) -> tuple[bytes, bytes]:
    """An InstrumentationScope as the (head, tail) of a ScopeSpans: field 1, and field 3 with the schema URL.

    None is an empty one.
    """
    schema_url = plain_text(getattr(scope, "schema_url", None) or "")
    name, version = (plain_text(getattr(scope, name, None) or "") for name in ("name", "version"))
    attributes = getattr(scope, "attributes", None)
    dropped = _count(0x20, min(max(int(getattr(attributes, "dropped", 0)), 0), 2**32 - 1))
    strings = _string(0x0A, name) + _string(0x12, version)
    return _entity(strings, attributes, 0x1A, dropped, schema_url, redactor)
