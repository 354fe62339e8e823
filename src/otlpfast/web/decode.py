"""Reads spans out of serialised requests: a little of each, for lists, and all of one, to be shown.

Specification: opentelemetry/proto/trace/v1/trace.proto. Requests are otlpfast's own: what is no such message
raises ValueError, IndexError or struct.error.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from .._protobuf import fields, read_varint
from .masking import is_secret, masked

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS_CODES = ("unset", "ok", "error")
_ERROR = 2
_DROPPED = {10: "attributes", 12: "events", 14: "links"}  # fields that count what limits left out
_EXACT = 2**53 - 1  # the largest number that JavaScript reads as it is
_LONGEST_TEXT = 20_000  # characters; a stack trace is shown whole
_LONGEST_BYTES = 256
_DEEPEST = 8  # arrays and maps in each other
_SERVICE = b"service.name"

# The tags of what a glimpse has: field << 3 | wire type.
_TRACE_ID, _SPAN_ID, _PARENT_ID, _NAME, _STATUS = (field << 3 | 2 for field in (1, 2, 4, 5, 15))
_KIND = 6 << 3
_START, _END = (field << 3 | 1 for field in (7, 8))

_fixed64 = struct.Struct("<Q").unpack_from
_double = struct.Struct("<d").unpack_from


class Origin(NamedTuple):
    """Which resource and scope a span is of, encoded."""

    service: str
    resource: memoryview
    scope: memoryview


class Glimpse(NamedTuple):
    """What is read of a span before somebody opens its trace."""

    trace_id: bytes
    span_id: int
    parent_id: int  # 0 for none
    name: str
    kind: int
    start: int  # nanoseconds since 1970
    end: int
    failed: bool
    origin: Origin
    encoded: memoryview


def _parts(message: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """Of a message what are texts, bytes or messages themselves."""
    return ((number, value) for number, value, _ in fields(message) if isinstance(value, memoryview))


def glimpses(request: bytes) -> Iterator[Glimpse]:
    """The spans of an ExportTraceServiceRequest."""
    for number, resource_spans in _parts(request):
        if number == 1:
            yield from _of_resource(resource_spans)


def _of_resource(resource_spans: memoryview) -> Iterator[Glimpse]:
    resource = memoryview(b"")
    for number, value in _parts(resource_spans):
        if number == 1:
            resource = value
        elif number == 2:
            scope = memoryview(b"")
            service = _service(resource)
            for inner, part in _parts(value):
                if inner == 1:
                    scope = part
                elif inner == 2:
                    yield _glimpse(part, Origin(service, resource, scope))


def _service(resource: memoryview) -> str:
    for number, pair in _parts(resource):
        if number == 1:
            key, value = _pair(pair)
            if bytes(key) == _SERVICE:
                return str(_value(value))
    return ""


def _glimpse(span: memoryview, origin: Origin) -> Glimpse:
    # Every span that is kept comes by here while somebody looks: passes over what is not needed, and looks at
    # most tags and lengths as the single bytes that they are.
    data = bytes(span)
    trace_id, span_id, parent_id, name = b"", 0, 0, ""
    kind = start = end = 0
    failed = False
    at, size = 0, len(data)
    while at < size:
        tag = data[at]
        at += 1
        wire = tag & 7
        if tag >= 0x80:
            tag, at = read_varint(span, at - 1)
        if wire == 2:
            length = data[at]
            at += 1
            if length >= 0x80:
                length, at = read_varint(span, at - 1)
            if tag == _TRACE_ID:
                trace_id = data[at : at + length]
            elif tag == _SPAN_ID:
                span_id = int.from_bytes(data[at : at + length], "big")
            elif tag == _PARENT_ID:
                parent_id = int.from_bytes(data[at : at + length], "big")
            elif tag == _NAME:
                name = masked(_text(span[at : at + length]))
            elif tag == _STATUS:
                failed = _status(span[at : at + length])["code"] == _STATUS_CODES[_ERROR]
            at += length
        elif wire == 1:
            if tag == _START:
                start = _fixed64(data, at)[0]
            elif tag == _END:
                end = _fixed64(data, at)[0]
            at += 8
        elif wire == 0:
            value, at = read_varint(span, at)
            kind = value if tag == _KIND else kind
        else:
            at += 4
    return Glimpse(trace_id, span_id, parent_id, name, kind, start, end, failed, origin, span)


def kind_name(kind: int) -> str:
    """A SpanKind in words."""
    return _KINDS[kind] if kind < len(_KINDS) else str(kind)


def details(glimpse: Glimpse) -> dict[str, Any]:
    """What else there is in a span: attributes, events, links, status, scope and resource, for JSON."""
    attributes: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    links: list[dict[str, Any]] = []
    status = {"code": _STATUS_CODES[0], "message": ""}
    dropped = dict.fromkeys(_DROPPED.values(), 0)
    for number, value, _ in fields(glimpse.encoded):
        if isinstance(value, int) and number in _DROPPED:
            dropped[_DROPPED[number]] = value
        if not isinstance(value, memoryview):
            continue
        if number == 9:
            attributes.append(_attribute(value))
        elif number == 11:
            events.append(_event(value, glimpse.start))
        elif number == 13:
            links.append(_link(value))
        elif number == 15:
            status = _status(value)
    return {
        "attributes": attributes,
        "events": events,
        "links": links,
        "status": status,
        "dropped": dropped,
        "scope": _scope(glimpse.origin.scope),
        "resource": [_attribute(pair) for number, pair in _parts(glimpse.origin.resource) if number == 1],
    }


def _event(event: memoryview, start: int) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": "", "offset_ms": 0.0, "attributes": []}
    for number, value, whole in fields(event):
        if number == 1:
            shown["offset_ms"] = round((_fixed64(whole, 1)[0] - start) / 1e6, 6)
        elif not isinstance(value, memoryview):
            continue
        elif number == 2:
            shown["name"] = masked(_text(value))
        elif number == 3:
            shown["attributes"].append(_attribute(value))
    return shown


def _link(link: memoryview) -> dict[str, Any]:
    shown: dict[str, Any] = {"trace_id": "", "span_id": "", "attributes": []}
    for number, value in _parts(link):
        if number == 1:
            shown["trace_id"] = value.hex()
        elif number == 2:
            shown["span_id"] = value.hex()
        elif number == 4:
            shown["attributes"].append(_attribute(value))
    return shown


def _status(status: memoryview) -> dict[str, str]:
    shown = {"code": _STATUS_CODES[0], "message": ""}
    for number, value, _ in fields(status):
        if number == 2 and isinstance(value, memoryview):
            shown["message"] = masked(_text(value))
        elif number == 3 and isinstance(value, int):
            shown["code"] = _STATUS_CODES[value] if value < len(_STATUS_CODES) else str(value)
    return shown


def _scope(scope: memoryview) -> dict[str, str]:
    texts = {number: _text(value) for number, value in _parts(scope) if number in (1, 2)}
    return {"name": texts.get(1, ""), "version": texts.get(2, "")}


def _attribute(pair: memoryview) -> dict[str, Any]:
    key, value = _pair(pair)
    name = _text(key)
    return {"key": name, "value": _value(value, secret=is_secret(name))}


def _pair(pair: memoryview) -> tuple[memoryview, memoryview]:
    key = value = memoryview(b"")
    for number, part in _parts(pair):
        key, value = (part, value) if number == 1 else (key, part)
    return key, value


def _value(value: memoryview, depth: int = 0, secret: bool = False) -> Any:
    """An AnyValue as JSON has it; what is secret only where it is no number."""
    for number, part, whole in fields(value):
        if isinstance(part, int):
            return _whole_number(part) if number == 3 else bool(part)
        if part is None:
            real = _double(whole, 1)[0]
            return real if math.isfinite(real) else str(real)
        if secret and number in (1, 7):
            return "***"
        if number == 1:
            return masked(_text(part))
        if number == 7:
            cut = base64.b64encode(part[:_LONGEST_BYTES]).decode()
            return f"base64:{cut}" + (f"… ({len(part)} bytes)" if len(part) > _LONGEST_BYTES else "")
        if depth >= _DEEPEST:
            return "…"
        if number == 5:
            return [_value(item, depth + 1, secret) for _, item in _parts(part)]
        if number == 6:
            return _map(part, depth + 1, secret)
    return None


def _map(pairs: memoryview, depth: int, secret: bool) -> dict[str, Any]:
    shown = {}
    for _, pair in _parts(pairs):
        key, value = _pair(pair)
        name = _text(key)
        shown[name] = _value(value, depth, secret or is_secret(name))
    return shown


def _whole_number(number: int) -> int | str:
    if number >= 1 << 63:
        number -= 1 << 64
    return number if -_EXACT <= number <= _EXACT else str(number)


def _text(value: memoryview) -> str:
    text = str(value[: 4 * _LONGEST_TEXT], "utf-8", "replace")
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + f"… ({len(value)} bytes)"
    return text
