"""Cuts a serialised ExportTraceServiceRequest in two, reading no more of it than that takes."""

from __future__ import annotations

from collections.abc import Iterator

from ._request import varint

_Parts = list[memoryview | bytes]

# The fields that lead to a span: resource_spans of the request, scope_spans of a resource, spans of a scope.
_PATH = (1, 2, 2)
_FIXED = {1: 8, 5: 4}  # bytes of the wire types of that size
_DELIMITED = 2


def halve(request: bytes, count: int) -> tuple[bytes, bytes]:
    """Two requests: the first ``count // 2`` spans of this one, and the rest, in their order.

    A resource or scope whose spans part comes in both, with all its fields. ValueError for what is no request
    or one that does not have ``count`` spans, and below two.
    """
    message = memoryview(request)
    if (found := _count(message, 0)) != count:
        raise ValueError(f"the request has {found} spans and not {count}")
    if count < 2:
        raise ValueError(f"a batch of {count} spans can't be split")
    head, tail = _cut(message, 0, count // 2)
    return b"".join(head), b"".join(tail)


def count_spans(request: bytes) -> int:
    """How many spans a request has; ValueError for what is no request."""
    return _count(memoryview(request), 0)


def _count(message: memoryview, level: int) -> int:
    """How many spans there are in a message so many steps down the path."""
    if level == len(_PATH):
        return 1
    if level == len(_PATH) - 1:
        return _count_in_scope(message)
    return sum(
        _count(value, level + 1)
        for number, value, _ in _fields(message)
        if value is not None and number == _PATH[level]
    )


def _count_in_scope(message: memoryview) -> int:
    """How many spans a ScopeSpans has. Those of less than 16 KiB, which most are, take few steps."""
    at, end, found, tag = 0, len(message), 0, _PATH[-1] << 3 | _DELIMITED
    while at < end:
        while at + 2 < end and message[at] == tag:
            length, high = message[at + 1], message[at + 2]
            if length < 0x80:
                at += 2 + length
            elif high < 0x80:
                at += 3 + (length & 0x7F | high << 7)
            else:
                break
            found += 1
        if at > end:
            raise ValueError("no protobuf message: a field is cut off")
        for number, value, whole in _fields(message[at:]):
            found += number == _PATH[-1] and value is not None
            at += len(whole)
            break
    return found


def _cut(message: memoryview, level: int, wanted: int) -> tuple[_Parts, _Parts]:
    """The parts of a message with its first ``wanted`` spans, at least one, and of one with the rest."""
    head: _Parts = []
    tail: _Parts = []
    for number, value, whole in _fields(message):
        if value is None or number != _PATH[level]:
            head.append(whole)
            tail.append(whole)
            continue
        spans = _count(value, level + 1)
        if not wanted:
            tail.append(whole)
        elif spans <= wanted:
            head.append(whole)
            wanted -= spans
        else:
            first, second = _cut(value, level + 1, wanted)
            head += _field(number, first)
            tail += _field(number, second)
            wanted = 0
    return head, tail


def _field(number: int, parts: _Parts) -> _Parts:
    return [varint(number << 3 | _DELIMITED) + varint(sum(map(len, parts))), *parts]


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | None, memoryview]]:
    """Of each field its number, the value if it is length-delimited, and all its bytes."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _read_varint(message, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"no protobuf message: a field has number {number}")
        if wire == 0:
            length, at = 0, _read_varint(message, at)[1]
        elif wire == _DELIMITED:
            length, at = _read_varint(message, at)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise ValueError(f"no protobuf message of proto3: a field has wire type {wire}")
        if length > len(message) - at:
            raise ValueError("no protobuf message: a field is cut off")
        at += length
        yield number, message[at - length : at] if wire == _DELIMITED else None, message[start:at]


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number that starts there, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at == len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("no protobuf message: a number does not end")
