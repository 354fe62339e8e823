"""Protobuf as it lies in bytes: what little of it has to be read or written outside the encoder."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, DELIMITED = 0, 2  # wire types
_FIXED = {1: 8, 5: 4}  # bytes of the wire types of that size
_U64 = (1 << 64) - 1

Value = int | memoryview | None
"""Of a field: a number, the bytes of text or of a message, None for one of fixed size."""


def varint(number: int) -> bytes:
    """An unsigned int in protobuf's base 128."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def fields(message: bytes | memoryview) -> Iterator[tuple[int, Value, memoryview]]:
    """Of each field its number, its value, and all its bytes; ValueError where it is no message of proto3.

    Each step costs what the tag and the length take, so what reads bytes of others counts its steps itself.
    """
    view = memoryview(message)
    at = 0
    while at < len(view):
        start = at
        tag, at = read_varint(view, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"no protobuf message: a field has number {number}")
        value: Value = None
        if wire == VARINT:
            value, at = read_varint(view, at)
        elif wire == DELIMITED or wire in _FIXED:
            length, at = read_varint(view, at) if wire == DELIMITED else (_FIXED[wire], at)
            if length > len(view) - at:
                raise ValueError("no protobuf message: a field is cut off")
            value = view[at : at + length] if wire == DELIMITED else None
            at += length
        else:
            raise ValueError(f"no protobuf message of proto3: a field has wire type {wire}")
        yield number, value, view[start:at]


def read_varint(view: memoryview, at: int) -> tuple[int, int]:
    """The number that starts there, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at == len(view):
            break
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _U64, at
    raise ValueError("no protobuf message: a number does not end")
