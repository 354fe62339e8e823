"""Counters that a reader can look at without a copy."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from operator import index

from .._checks import counter_names, stripe_count, whole_number


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
