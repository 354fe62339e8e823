"""What both implementations say of a wrong argument."""

from __future__ import annotations

from collections.abc import Iterable

MAX_FIELD = (1 << 29) - 1
"""The greatest field number of a protobuf message."""
MAX_CAPACITY = 1 << 30
MAX_IDLE = 1 << 20
"""The most that a pool may be told to hold in one block, and how many blocks it may be told to keep."""


def whole_number(name: str, value: object, least: int, most: int) -> int:
    """The value, an int from ``least`` to ``most``; otherwise a TypeError or ValueError that names it."""
    allowed = f"a whole number from {least} to {most} is allowed"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: {allowed}")
    if not least <= value <= most:
        raise ValueError(f"{name}={value!r}: {allowed}")
    return value


def check_meter_provider(meter_provider: object) -> None:
    """TypeError for what is no MeterProvider and not None."""
    if meter_provider is not None and not callable(getattr(meter_provider, "get_meter", None)):
        raise TypeError(f"meter_provider={meter_provider!r}: a MeterProvider or None is allowed")


def counter_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple; TypeError for what is no string, ValueError for none at all or one twice."""
    given = () if isinstance(names, str) else tuple(names)
    if isinstance(names, str) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"names={names!r}: an iterable of strings is allowed")
    if not given or len(set(given)) != len(given):
        raise ValueError(f"names={given!r}: at least one name is allowed, no two alike")
    return given


def stripe_count(stripes: int) -> int:
    """The number of stripes; TypeError or ValueError where it is no power of two from 1 to 1024."""
    whole_number("stripes", stripes, 1, 1024)
    if stripes & (stripes - 1):
        raise ValueError(f"stripes={stripes!r}: a power of two from 1 to 1024 is allowed")
    return stripes
