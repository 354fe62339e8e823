"""Cuts a serialised ExportTraceServiceRequest in two, reading no more of it than that takes."""

from __future__ import annotations

from ._protobuf import DELIMITED, fields, varint

_Parts = list[memoryview | bytes]

# The fields that lead to a span: resource_spans of the request, scope_spans of a resource, spans of a scope.
_PATH = (1, 2, 2)


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
        for number, value, _ in fields(message)
        if number == _PATH[level] and isinstance(value, memoryview)
    )


def _count_in_scope(message: memoryview) -> int:
    """How many spans a ScopeSpans has. Those of less than 16 KiB, which most are, take few steps."""
    at, end, found, tag = 0, len(message), 0, _PATH[-1] << 3 | DELIMITED
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
        if at < end:
            number, value, whole = next(fields(message[at:]))
            found += number == _PATH[-1] and isinstance(value, memoryview)
            at += len(whole)
    return found


def _cut(message: memoryview, level: int, wanted: int) -> tuple[_Parts, _Parts]:
    """The parts of a message with its first ``wanted`` spans, at least one, and of one with the rest."""
    head: _Parts = []
    tail: _Parts = []
    for number, value, whole in fields(message):
        if number != _PATH[level] or not isinstance(value, memoryview):
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
    return [varint(number << 3 | DELIMITED) + varint(sum(map(len, parts))), *parts]
