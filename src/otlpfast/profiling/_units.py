"""Numbers as ``go tool pprof`` writes them: units and percentages."""

from __future__ import annotations

from collections.abc import Iterable

_BYTES = (("B", 1), ("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40), ("PB", 1 << 50))
_TIMES = (("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9), ("hrs", 3600 * 10**9))
_SCALES: dict[str, tuple[tuple[tuple[str, int], ...], int]] = {
    "bytes": (_BYTES, 1),
    "kilobytes": (_BYTES, 1 << 10),
    "megabytes": (_BYTES, 1 << 20),
    "nanoseconds": (_TIMES, 1),
    "microseconds": (_TIMES, 10**3),
    "milliseconds": (_TIMES, 10**6),
    "seconds": (_TIMES, 10**9),
}
_PLAIN = ("count", "sample", "unit")


def scale_of(value: int, unit: str) -> tuple[str, int]:
    """The largest unit in which a value is at least 1, and how many of the finest it has."""
    scale, factor = _SCALES[unit]
    size = abs(value) * factor
    fitting = [step for step in scale if size >= step[1]]
    return fitting[-1] if fitting else scale[0]


def common_scale(values: Iterable[int], total: int, unit: str) -> tuple[str, int]:
    """One unit for a whole table, so that its numbers can be compared: its name, and values in one.

    It is that of the smallest value, or of a hundred times that where the total has another one.
    """
    if unit not in _SCALES:
        return ("" if unit in _PLAIN else unit), 1
    smallest = min((abs(value) for value in values if value), default=abs(total))
    chosen = scale_of(smallest, unit)
    if chosen != scale_of(total, unit) and smallest * 100 < abs(total):
        chosen = scale_of(smallest * 100, unit)
    return chosen


def amount(value: int, unit: str, scale: tuple[str, int] | None = None) -> str:
    """A value with its unit: ``1.50s``, ``512kB``, ``42``; in the largest one that fits, or in that given."""
    name, size = scale or common_scale((), value, unit)
    factor = _SCALES[unit][1] if unit in _SCALES else 1
    number = f"{value * factor / size:.2f}".removesuffix(".00")
    return "0" if number in ("0", "-0") else number + name


def percentage(value: int, total: int) -> str:
    """How much of the total it is, without a sign, six characters wide at least."""
    ratio = abs(value / total) * 100 if total else 0.0
    if 99.95 <= ratio <= 100.05:
        return "  100%"
    return f"{ratio:5.2f}%" if ratio >= 1 else f"{ratio:5.2g}%"
