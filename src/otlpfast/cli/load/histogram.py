"""How long operations took, in a log-linear histogram: any number of values in a few kilobytes."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator

_BITS = 5  # 32 steps between a power of two and the next: a value is known to 3 %
_STEPS = 1 << _BITS
_MOST = (1 << 40) - 1  # ns, 18 minutes: what takes longer counts as that
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


class Histogram:
    """Counts whole numbers of nanoseconds. One thread records; several histograms can be added up.

    Numbers below 64 are kept exactly, larger ones to 1/32; ``largest`` is exact.
    """

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * (_slot(_MOST) + 1)))
        self.count = 0
        self.total = 0
        self.largest = 0

    def record(self, value: int) -> None:
        """Counts a value, which is not negative."""
        if value > self.largest:
            self.largest = value
            value = min(value, _MOST)
        shift = value.bit_length() - _BITS - 1
        self._counts[(shift << _BITS) + (value >> shift) if shift > 0 else value] += 1
        self.count += 1
        self.total += value

    def add(self, other: Histogram) -> None:
        """Counts all that the other one has."""
        for slot, count in enumerate(other._counts):
            self._counts[slot] += count
        self.count += other.count
        self.total += other.total
        self.largest = max(self.largest, other.largest)

    def percentile(self, percent: float) -> int:
        """The value that so many percent are not above; 0 if there are none."""
        wanted = self.count * percent / 100
        seen = 0
        for _, high, count in self.slots():
            seen += count
            if seen >= wanted:
                return min(high, self.largest)
        return self.largest

    def slots(self) -> Iterator[tuple[int, int, int]]:
        """Of each step that has values: the least and the most that belong there, and how many do."""
        for slot, count in enumerate(self._counts):
            if count:
                shift = max((slot >> _BITS) - 1, 0)
                low = slot - (shift << _BITS) << shift
                yield low, low + (1 << shift) - 1, count

    def figures(self) -> dict[str, float]:
        """Microseconds: p50, p90, p99, p99.9, max and mean."""
        figures = {f"p{percent:g}": self.percentile(percent) / 1e3 for percent in PERCENTILES}
        mean = self.total / self.count / 1e3 if self.count else 0.0
        return {**figures, "max": self.largest / 1e3, "mean": mean}


def _slot(value: int) -> int:
    shift = max(value.bit_length() - _BITS - 1, 0)
    return (shift << _BITS) + (value >> shift)


def cost_of_measuring(times: int = 20_000) -> float:
    """CPU seconds that reading the clock twice and counting the difference takes, here and now."""
    record, clock = Histogram().record, time.perf_counter_ns
    best = float("inf")
    for _ in range(4):
        before = time.thread_time()
        for _ in range(times // 4):
            started = clock()
            record(clock() - started)
        best = min(best, time.thread_time() - before)
    return best / (times // 4)
