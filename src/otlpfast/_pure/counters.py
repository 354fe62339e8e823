"""Counters that a reader can look at without a copy."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from operator import index

from .._checks import counter_names, stripe_count, whole_number


class PaddedCounters:
    """Named 64-bit counters; ``_core``'s layout, without atomic adds.

    See ``_core.PaddedCounters``. Nobody waits for a lock here: a signal handler that waits for another thread
    may have interrupted the one that holds it. What is to be added goes into a deque, and from there into its
    cell by whoever finds that nobody else is at it.
    """

    def __init__(self, names: Iterable[str], stripes: int = 8, padded: bool = True) -> None:
        self.names = counter_names(names)
        self._index = {name: i for i, name in enumerate(self.names)}
        self.stripes = stripe_count(stripes)
        self._words = 8 if padded else 1
        self._adding = threading.Lock()  # never waited for
        self._to_add: deque[tuple[int, int]] = deque()
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
        self._to_add.append((cell, n))
        self._settle()

    def _settle(self) -> None:
        while self._to_add and self._adding.acquire(blocking=False):
            try:
                while self._to_add:
                    cell, n = self._to_add.popleft()
                    self._cells[cell] += n
            finally:
                self._adding.release()

    def get(self, name: str) -> int:
        """The counter's total over all stripes; KeyError where there is none of that name."""
        self._settle()
        cells = [self._cell(stripe, name) for stripe in range(self.stripes)]
        return sum(self._cells[cell] for cell in cells) + sum(
            n for cell, n in tuple(self._to_add) if cell in cells
        )

    def snapshot(self) -> dict[str, int]:
        """All totals as a dict, in the order of the names."""
        return {name: self.get(name) for name in self.names}

    def reset(self) -> None:
        """Sets every counter to zero."""
        self._to_add.clear()
        self._cells[:] = memoryview(bytes(len(self._memory))).cast("q")

    def spin(self, name: str, times: int, stripe: int = 0) -> None:
        """Adds 1 to one stripe's counter ``times`` times.

        Raises KeyError for an unknown name, ValueError for a stripe out of range.
        """
        cell = self._cell(whole_number("stripe", stripe, 0, self.stripes - 1), name)
        for _ in range(index(times)):
            self._to_add.append((cell, 1))
            self._settle()

    def view(self) -> memoryview:
        """All of it without a copy, read-only, int64: ``(stripes, len(names), words)``.

        The count is in word 0.
        """
        return memoryview(self._memory).cast("q", (self.stripes, len(self.names), self._words)).toreadonly()


class Tally:
    """A number that any thread, signal handler or finaliser may add to, by the same means."""

    def __init__(self) -> None:
        self._adding = threading.Lock()
        self._to_add: deque[int] = deque()
        self._total = 0

    def add(self, n: int) -> None:
        """Adds ``n``."""
        self._to_add.append(n)
        self._settle()

    def _settle(self) -> None:
        while self._to_add and self._adding.acquire(blocking=False):
            try:
                while self._to_add:
                    self._total += self._to_add.popleft()
            finally:
                self._adding.release()

    @property
    def value(self) -> int:
        """The sum of all that was added."""
        self._settle()
        return self._total + sum(tuple(self._to_add))
