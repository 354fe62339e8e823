"""The plain-Python core, for platforms without the compiled one: the same names, bytes and errors.

Clear rather than clever: every span goes through ``plain_span`` and is then written out field by field.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import index
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, StatusCode

from ._account import ACCOUNT
from ._checks import MAX_CAPACITY, MAX_FIELD, MAX_IDLE, counter_names, stripe_count, whole_number
from ._plain import (
    INT64_MAX,
    frozen_attributes,
    frozen_value,
    plain_attributes,
    plain_span,
    plain_text,
    view_items,
)
from ._request import Group, request_parts, varint
from ._scopes import ScopeEntry, ScopeTable

IMPLEMENTATION = "py"

READY, DROPPED, FORKED = 1, 2, 4


# --- counters


class PaddedCounters:
    """Named 64-bit counters; ``_core``'s layout, with a lock in place of atomic adds.

    See ``_core.PaddedCounters``.
    """

    def __init__(self, names: Iterable[str], stripes: int = 8, padded: bool = True) -> None:
        self.names = counter_names(names)
        self._index = {name: i for i, name in enumerate(self.names)}
        self.stripes = stripe_count(stripes)
        self._words = 8 if padded else 1
        # Re-entrant, because a signal handler may count while its thread is counting.
        self._lock = threading.RLock()
        self._memory = bytearray(stripes * len(self.names) * self._words * 8)
        self._cells = memoryview(self._memory).cast("q")

    def _cell(self, stripe: int, name: str) -> int:
        if name not in self._index:
            raise KeyError(f"{name!r}: the counters are {', '.join(self.names)}")
        return (stripe * len(self.names) + self._index[name]) * self._words

    def add(self, name: str, n: int = 1) -> None:
        """Adds ``n``, an int of 64 bits, to the counter; KeyError where there is none of that name."""
        cell = self._cell((threading.get_ident() >> 12) & (self.stripes - 1), name)
        n = index(n)
        if not -(2**63) <= n < 2**63:
            raise OverflowError(f"{n} takes more than 64 bits")
        with self._lock:
            self._cells[cell] += n  # without a call in it, which a signal handler could come between

    def get(self, name: str) -> int:
        """The counter's total over all stripes; KeyError where there is none of that name."""
        return sum(self._cells[self._cell(stripe, name)] for stripe in range(self.stripes))

    def snapshot(self) -> dict[str, int]:
        """All totals as a dict, in the order of the names."""
        return {name: self.get(name) for name in self.names}

    def reset(self) -> None:
        """Sets every counter to zero."""
        with self._lock:
            self._cells[:] = memoryview(bytes(len(self._memory))).cast("q")

    def spin(self, name: str, times: int, stripe: int = 0) -> None:
        """Adds 1 to one stripe's counter ``times`` times.

        Raises KeyError for an unknown name, ValueError for a stripe out of range.
        """
        cell = self._cell(whole_number("stripe", stripe, 0, self.stripes - 1), name)
        for _ in range(index(times)):
            with self._lock:
                self._cells[cell] += 1

    def view(self) -> memoryview:
        """All of it without a copy, read-only, int64: ``(stripes, len(names), words)``.

        The count is in word 0.
        """
        return memoryview(self._memory).cast("q", (self.stripes, len(self.names), self._words)).toreadonly()


# --- pools

_T = TypeVar("_T", bound="_Pooled")


class _Pool(Generic[_T]):
    """Keeps the rules and the counts of ``_core``'s pools; what it recycles is capacities, not memory."""

    _kind: type[_T]

    def __init__(self, initial_capacity: int, max_size: int) -> None:
        self.initial_capacity = whole_number("initial_capacity", initial_capacity, 1, MAX_CAPACITY)
        self.max_size = whole_number("max_size", max_size, 0, MAX_IDLE)
        self._idle: deque[int] = deque()
        self.reset()

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self.reset()

    def _take(self) -> int:
        self._after_fork()
        try:
            capacity = self._idle.pop()
        except IndexError:
            self.misses += 1
            return self.initial_capacity
        self.hits += 1
        return capacity

    def _give(self, capacity: int) -> None:
        self._after_fork()
        if capacity > 4 * self.initial_capacity:
            self.oversized += 1
        elif capacity < self.initial_capacity or len(self._idle) >= self.max_size:
            self.discarded += 1
        else:
            self._idle.append(capacity)
            self.recycled += 1

    def acquire(self) -> _T:
        """An empty one; it goes back when it is released, leaves its ``with`` or dies."""
        made = self._kind.__new__(self._kind)
        made._start(self)
        return made

    def stats(self) -> dict[str, int]:
        """Counts since the start or the last ``reset()``, and how many blocks are idle now.

        Hits, misses, recycled, oversized (grew past 4 times the initial capacity), discarded (pool was full).
        """
        self._after_fork()
        return {
            "hits": self.hits,
            "misses": self.misses,
            "recycled": self.recycled,
            "oversized": self.oversized,
            "discarded": self.discarded,
            "idle": len(self._idle),
        }

    def reset(self) -> None:
        """Frees the idle blocks and sets the counts to zero, as a forked child does by itself."""
        self._pid = os.getpid()
        self._idle.clear()
        self.hits = self.misses = self.recycled = self.oversized = self.discarded = 0


class _Pooled:
    _pool: _Pool[Any] | None = None
    _capacity = 0

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__} is made by its pool's acquire()")

    def _start(self, pool: _Pool[Any]) -> None:
        self._pool = pool
        self._capacity = pool._take()

    def _give_back(self) -> None:
        pool, self._pool = self._pool, None
        capacity, self._capacity = self._capacity, 0
        if pool is not None:
            pool._give(capacity)

    def _check_open(self) -> None:
        if self._pool is None:
            raise ValueError(f"this {type(self).__name__} was released")

    def _grow_to(self, wanted: int) -> None:
        while self._capacity < wanted:
            self._capacity *= 2

    def __del__(self) -> None:
        self._give_back()

    @property
    def capacity(self) -> int:
        """How much fits before the memory grows; 0 once released."""
        return self._capacity


class _Rows(_Pooled):
    _rows: list[Any] = []  # noqa: RUF012 (of one that no pool has made: it takes no rows)

    def _start(self, pool: _Pool[Any]) -> None:
        super()._start(pool)
        self._rows = []

    def _give_back(self) -> None:
        # As in _core: the values' finalisers find the array released and its memory not yet with the pool.
        pool, self._pool = self._pool, None
        capacity, self._capacity = self._capacity, 0
        self._rows = []
        if pool is not None:
            pool._give(capacity)

    def _append(self, row: tuple[Any, ...]) -> None:
        self._check_open()
        self._rows.append(row)
        self._grow_to(len(self._rows))

    def release(self) -> None:
        """Gives the memory back to the pool.

        Anything but ``release()``, ``len()`` and ``capacity`` raises ValueError afterwards.
        """
        self._give_back()

    def items(self) -> list[Any]:
        """The entries as a list of tuples."""
        self._check_open()
        return list(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __enter__(self: _R) -> _R:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_R = TypeVar("_R", bound=_Rows)


class AttributeArray(_Rows):
    """Attributes in pooled memory, in the order they were added. Made by ``AttributePool.acquire()``."""

    def append(self, key: str, value: object) -> None:
        """Adds an attribute; the value is copied as ``SpanWrapper`` says.

        TypeError for a key that is not a str.
        """
        if not isinstance(key, str):
            raise TypeError(f"key={key!r}: a str")
        self._append((key, frozen_value(value)))


class EventArray(_Rows):
    """Events in pooled memory, in the order they were added. Made by ``EventPool.acquire()``."""

    def append(
        self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None
    ) -> None:
        """Adds an event: its name, a mapping of attributes or None, nanoseconds since the epoch or None.

        All are copied as ``SpanWrapper`` says. TypeError where the attributes are no mapping.
        """
        self._append((plain_text(name), frozen_attributes(attributes), timestamp))


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


class AttributePool(_Pool[AttributeArray]):
    """Recycles the memory of attribute arrays. See ``_core.AttributePool``."""

    _kind = AttributeArray

    def __init__(self, initial_capacity: int = 16, max_size: int = 256) -> None:
        super().__init__(initial_capacity, max_size)


class EventPool(_Pool[EventArray]):
    """Recycles the memory of event arrays. See ``_core.EventPool``."""

    _kind = EventArray

    def __init__(self, initial_capacity: int = 4, max_size: int = 256) -> None:
        super().__init__(initial_capacity, max_size)


class BufferPool(_Pool[SpanBuffer]):
    """Recycles the memory of span buffers. See ``_core.BufferPool``."""

    _kind = SpanBuffer

    def __init__(self, initial_capacity: int = 16384, max_size: int = 64) -> None:
        super().__init__(initial_capacity, max_size)


# --- wire format


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


# --- encoder


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


def _encode(span: ReadableSpan) -> bytes:
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


def _entity(body: bytes, attributes: Any, tag: int, dropped: bytes, schema_url: str) -> tuple[bytes, bytes]:
    return _field(0x0A, body + _pairs(tag, plain_attributes(attributes)) + dropped), _string(0x1A, schema_url)


def encode_resource(resource: Any) -> tuple[bytes, bytes]:
    """A Resource as the (head, tail) of a ResourceSpans: field 1, and field 3 with the schema URL.

    None is an empty one.
    """
    schema_url = plain_text(getattr(resource, "schema_url", None) or "")
    return _entity(b"", getattr(resource, "attributes", None), 0x0A, b"", schema_url)


def encode_scope(scope: Any) -> tuple[bytes, bytes]:
    """An InstrumentationScope as the (head, tail) of a ScopeSpans: field 1, and field 3 with the schema URL.

    None is an empty one.
    """
    schema_url = plain_text(getattr(scope, "schema_url", None) or "")
    name, version = (plain_text(getattr(scope, name, None) or "") for name in ("name", "version"))
    attributes = getattr(scope, "attributes", None)
    dropped = _count(0x20, min(max(int(getattr(attributes, "dropped", 0)), 0), 2**32 - 1))
    return _entity(_string(0x0A, name) + _string(0x12, version), attributes, 0x1A, dropped, schema_url)


# --- batches and the queue

_buffer_pool = BufferPool()
_scope_table = ScopeTable(encode_resource, encode_scope)


class BatchBuilder:
    """Encodes spans into one batch, grouped by resource and scope in the order of their first span."""

    def __init__(self) -> None:
        self._groups: list[tuple[ScopeEntry, SpanBuffer]] = []
        self._by_key: dict[tuple[bytes, ...], list[tuple[ScopeEntry, SpanBuffer]]] = {}
        self.count = 0
        self.nbytes = 0

    def _buffer(self, entry: ScopeEntry) -> SpanBuffer:
        alike = self._by_key.setdefault(entry.key, [])
        for known, buffer in alike:
            if known.is_same(entry):
                return buffer
        self._groups.append((entry, _buffer_pool.acquire()))
        alike.append(self._groups[-1])
        return self._groups[-1][1]

    def _add_encoded(self, entry: ScopeEntry, data: bytes) -> None:
        self._buffer(entry).append(data)
        self.count += 1
        self.nbytes += len(data)

    def add(self, span: Any) -> int:
        """Encodes a ReadableSpan; its size in bytes, or 0 where it has no valid ids. Never raises."""
        readable = plain_span(span)
        if readable is None:
            return 0
        data = _encode(readable)
        self._add_encoded(_scope_table.entry(readable.resource, readable.instrumentation_scope), data)
        return len(data)

    def finish(self) -> list[Group]:
        """Ends the batch: a list of (entry, views, count), one a group that has spans."""
        return [(entry, [buffer.view()], buffer.count) for entry, buffer in self._groups]


class _Sized(Protocol):
    def __len__(self) -> int: ...


class SpanQueue:
    """Spans that wait for export: encoded, counted, and grouped when they are taken. See ``_core.SpanQueue``.

    A waiting span is an entry of a deque, whose append and popleft need no lock; the lock guards sums alone.
    """

    def __init__(self, max_spans: int, max_bytes: int, batch_size: int) -> None:
        self.max_spans, self.max_bytes, self.batch_size = max_spans, max_bytes, batch_size
        self.counters = PaddedCounters(ACCOUNT)
        self.closed = False
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        # The sums first: the spans of the old queue may end others in their finalisers.
        self.nbytes = 0
        self.in_flight = 0
        self._encoded: deque[tuple[ScopeEntry, bytes]] = deque()
        self._kept: deque[tuple[Any, int]] = deque()

    @property
    def waiting(self) -> int:
        """How many spans wait."""
        return len(self._encoded) + len(self._kept)

    def _dropped(self, reason: str) -> int:
        self.counters.add(reason)
        return DROPPED

    def put(self, span: Any, keep: bool = False) -> int:
        """Takes an ended span; what became of it as bits.

        1: a batch is ready. 2: it was dropped. 4: this process is a new child. Unsampled spans are passed
        over. ``keep`` keeps the span itself, for whoever needs it later, and only counts its size. Never
        raises.
        """
        outcome = FORKED if self.after_fork() else 0
        if not _probably_sampled(span):
            return outcome
        self.counters.add("ended")
        try:
            return outcome | self._admit(span, keep)
        except Exception:  # no memory, or no stack left
            return outcome | self._dropped("encode_error")
        except BaseException:  # the application's own, which goes on to it
            self.counters.add("encode_error")
            raise

    def _admit(self, span: Any, keep: bool) -> int:
        if self.closed:
            return self._dropped("shutdown")
        if self.waiting >= self.max_spans or self.nbytes >= self.max_bytes:
            return self._dropped("queue_full")
        readable = plain_span(span)
        if readable is None:
            return self._dropped("encode_error")
        data = _encode(readable)
        if len(data) > self.max_bytes - self.nbytes:
            return self._dropped("too_large" if len(data) > self.max_bytes else "queue_full")
        waiting: _Sized
        if keep:
            self._kept.append((span, len(data)))
            waiting = self._kept
        else:
            entry = _scope_table.entry(readable.resource, readable.instrumentation_scope)
            self._encoded.append((entry, data))
            waiting = self._encoded
        with self._lock:
            self.nbytes += len(data)
        return READY if len(waiting) >= self.batch_size else 0

    def take(self, partial: bool = True) -> tuple[BatchBuilder | list[Any], int, int] | None:
        """The next batch as (BatchBuilder or list of kept spans, spans, bytes), or None.

        ``partial`` closes the open ones too. It counts as in flight until ``done()``.
        """
        wanted = 1 if partial else self.batch_size
        taken: BatchBuilder | list[Any]
        if len(self._encoded) >= wanted:
            taken = BatchBuilder()
            for entry, data in _pop(self._encoded, self.batch_size):
                taken._add_encoded(entry, data)
            count, nbytes = taken.count, taken.nbytes
        elif len(self._kept) >= wanted:
            kept = _pop(self._kept, self.batch_size)
            taken = [span for span, _ in kept]
            count, nbytes = len(taken), sum(size for _, size in kept)
        else:
            return None
        with self._lock:
            self.in_flight += count
        return taken, count, nbytes

    def done(self, spans: int, nbytes: int) -> None:
        """What was taken has been accounted for; its bytes no longer count."""
        with self._lock:
            self.in_flight -= spans
            self.nbytes -= nbytes

    def close(self) -> None:
        """From now on every span is dropped as ``shutdown``."""
        self.closed = True

    def discard(self, reason: str) -> int:
        """Drops all that waits, for this reason; returns how many."""
        total = 0
        while (taken := self.take()) is not None:
            self.counters.add(reason, taken[1])
            self.done(taken[1], taken[2])
            total += taken[1]
        return total

    def after_fork(self) -> bool:
        """Forgets what a parent process had queued, if this is a new child; True where it was."""
        if self._pid == os.getpid():
            return False
        self.counters = PaddedCounters(ACCOUNT)
        self._start()
        return True


def _pop(waiting: deque[Any], most: int) -> Sequence[Any]:
    popped: list[Any] = []
    while len(popped) < most:
        try:
            popped.append(waiting.popleft())
        except IndexError:
            break
    return popped


def _probably_sampled(span: Any) -> bool:
    try:
        return bool(span.context and int(span.context.trace_flags) & 1)
    except Exception:
        return True


def encode_spans(spans: Iterable[Any]) -> bytes:
    """Spans as a serialised ``opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest``.

    Args:
        spans: any iterable of ReadableSpan, or of objects with its properties.

    Returns:
        bytes: grouped by resource and scope. A span without valid ids is left out; no other span ever is, and
            none raises.
    """
    batch = BatchBuilder()
    for span in spans:
        batch.add(span)
    return b"".join(request_parts(batch.finish()))
