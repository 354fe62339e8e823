"""How long something took, many times: a histogram of fixed size."""

from __future__ import annotations

_BITS = 5  # 32 steps between a power of two and the next: a figure is right to 3 %
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


class Latencies:
    """Nanoseconds, counted in steps that widen with the value."""

    def __init__(self) -> None:
        self._counts = [0] * (64 << _BITS)
        self.count = 0
        self.longest = 0

    def add(self, nanoseconds: int) -> None:
        if nanoseconds < 1 << _BITS:
            self._counts[max(nanoseconds, 0)] += 1
        else:
            shift = nanoseconds.bit_length() - _BITS - 1
            self._counts[((shift + 1) << _BITS) + (nanoseconds >> shift) - (1 << _BITS)] += 1
        self.count += 1
        if nanoseconds > self.longest:
            self.longest = nanoseconds

    def quantile(self, share: float) -> int:
        """The least value that so many of all are at or below; 0 where there is none."""
        wanted, seen = share * self.count, 0
        for place, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(_value(place), self.longest)
        return 0

    def figures(self) -> dict[str, int]:
        return {
            "count": self.count,
            **{name: self.quantile(share) for name, share in QUANTILES.items()},
            "longest": self.longest,
        }


def _value(place: int) -> int:
    """The largest value that is counted there."""
    shift, rest = (place >> _BITS) - 1, place & ((1 << _BITS) - 1)
    return place if shift < 0 else (((1 << _BITS) + rest + 1) << shift) - 1
