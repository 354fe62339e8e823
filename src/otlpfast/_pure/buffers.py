"""Encoded spans in pooled memory, and the writer of the wire format."""

from __future__ import annotations

import struct
from operator import index
from typing import Any

from .._checks import MAX_FIELD, whole_number
from .._protobuf import varint
from .pools import _Pool, _Pooled


class SpanBuffer(_Pooled):
    """Encoded spans. While a view of it is alive, writing, growing or clearing raises BufferError.

    Made by ``BufferPool.acquire()``.
    """

    _data: bytearray = bytearray()
    count = 0

    def _start(self, pool: _Pool[Any]) -> None:
        super()._start(pool)
        self._data = bytearray()

    def _check_writable(self) -> None:
        self._check_open()
        self._data.append(0)  # a bytearray that has views refuses to change its size
        del self._data[-1]

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Adds one encoded span, any bytes-like object, contiguous. BufferError while a view is alive."""
        octets = _octets(data)
        self._check_writable()
        self._data += octets
        if len(self._data) > self._capacity:
            self._capacity = max(self._capacity, 64)  # as the compiled writer grows
            self._grow_to(len(self._data))
        self.count += 1

    def clear(self) -> None:
        """Empties it and keeps the memory. BufferError while a view is alive."""
        self._check_writable()
        self._data.clear()
        self.count = 0

    def release(self) -> None:
        """Gives the memory back to the pool. BufferError while a view is alive."""
        if self._pool is not None:
            self._check_writable()
            self._data = bytearray()
            self.count = 0
            self._give_back()

    def view(self) -> memoryview:
        """A read-only memoryview of the bytes written so far."""
        self._check_open()
        return memoryview(self._data).toreadonly()

    def __len__(self) -> int:
        return len(self._data)


class BufferPool(_Pool[SpanBuffer]):
    """Recycles the memory of span buffers. See ``_core.BufferPool``."""

    _kind = SpanBuffer

    def __init__(self, initial_capacity: int = 16384, max_size: int = 64) -> None:
        super().__init__(initial_capacity, max_size)


def _octets(data: bytes | bytearray | memoryview) -> bytes:
    """Any bytes-like object as bytes. TypeError for what is none, BufferError for what is not contiguous."""
    view = memoryview(data)
    if not view.c_contiguous:
        raise BufferError("a contiguous buffer is allowed")
    return view.tobytes()


def _float(number: float) -> float:
    if isinstance(number, str):
        raise TypeError("must be real number, not str")
    return float(number)


class WireWriter:
    """Writes one protobuf message; a call that raises writes nothing. See ``_core.WireWriter``."""

    def __init__(self) -> None:
        self._open = [bytearray()]

    def _tag(self, field: int, wire_type: int) -> bytearray:
        self._open[-1] += varint(whole_number("field", field, 1, MAX_FIELD) << 3 | wire_type)
        return self._open[-1]

    def write_varint(self, field: int, number: int) -> None:
        """An int of 64 bits, signed (two's complement) or unsigned; OverflowError beyond."""
        if not -(2**63) <= number < 2**64:
            raise OverflowError(f"{number} takes more than 64 bits")
        data = varint(index(number) & 2**64 - 1)
        out = self._tag(field, 0)
        out += data

    def write_fixed32(self, field: int, number: int) -> None:
        """An unsigned int of 32 bits, 4 bytes; OverflowError beyond."""
        data = index(number).to_bytes(4, "little")
        out = self._tag(field, 5)
        out += data

    def write_fixed64(self, field: int, number: int) -> None:
        """An unsigned int of 64 bits, 8 bytes; OverflowError beyond."""
        data = index(number).to_bytes(8, "little")
        out = self._tag(field, 1)
        out += data

    def write_double(self, field: int, number: float) -> None:
        """A float, 8 bytes."""
        data = struct.pack("<d", _float(number))
        out = self._tag(field, 1)
        out += data

    def write_bytes(self, field: int, data: bytes | bytearray | memoryview) -> None:
        """Any bytes-like object, contiguous."""
        octets = _octets(data)
        out = self._tag(field, 2)
        out += varint(len(octets)) + octets

    def write_string(self, field: int, text: str) -> None:
        """Text as UTF-8; lone surrogates become U+FFFD."""
        if not isinstance(text, str):
            raise TypeError(f"text={text!r}: a str is allowed")
        self.write_bytes(field, utf8(text))

    def begin(self, field: int) -> None:
        """Opens a nested message."""
        self._tag(field, 2)
        self._open.append(bytearray())

    def end(self) -> None:
        """Closes the innermost open message; IndexError where none is open."""
        if len(self._open) == 1:
            raise IndexError("no message is open")
        message = self._open.pop()
        self._open[-1] += varint(len(message)) + message

    def finish(self) -> bytes:
        """The bytes written; ValueError while a message is open."""
        if len(self._open) > 1:
            raise ValueError(f"{len(self._open) - 1} messages are still open: end() them first")
        return bytes(self._open[0])


def utf8(text: str) -> bytes:
    """UTF-8, with U+FFFD for surrogates."""
    try:
        return str.encode(text, "utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text).encode()
