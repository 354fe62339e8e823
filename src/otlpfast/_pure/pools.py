"""Pools, and the attributes and events whose memory they recycle."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar

from .._checks import MAX_CAPACITY, MAX_IDLE, whole_number
from .._plain import frozen_attributes, frozen_value, plain_text

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
