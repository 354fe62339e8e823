"""Profile: what a profiler found, and the forms it can be had in."""

from __future__ import annotations

from dataclasses import dataclass
from types import CodeType
from typing import NamedTuple


class ValueType(NamedTuple):
    """What a number of a sample says: pprof's ``ValueType``, such as ``("cpu", "nanoseconds")``."""

    type: str
    unit: str


class Frame(NamedTuple):
    """A function, and where in it a thread was."""

    function: str
    """Qualified name (CPython 3.10: the name alone)."""
    filename: str
    line: int
    """Being executed, or from which the frame before was called; 0 is unknown."""
    first_line: int = 0
    """Of the function; 0 is unknown."""

    @classmethod
    def of(cls, code: CodeType, line: int | None) -> Frame:
        """The frame of a code object at a line."""
        name = getattr(code, "co_qualname", code.co_name)
        return cls(name, code.co_filename, line or 0, code.co_firstlineno)


Stack = tuple[Frame, ...]
"""The innermost frame first."""

Label = tuple[str, "str | int"]
"""Key and value: ``("trace_id", "4bf92f…")``, ``("thread", "MainThread")``."""


class Sample(NamedTuple):
    """A stack, and what was counted there."""

    stack: Stack
    values: tuple[int, ...]
    """One for each value type of the profile."""
    labels: tuple[Label, ...] = ()
    """Sorted by key; each key once."""


@dataclass(frozen=True)
class Profile:
    """Samples of one kind, taken over a time."""

    kind: str
    """``cpu``, ``wall``, ``heap``, ``threads``, ``tasks``, ``block`` or ``mutex``; of others their name."""
    value_types: tuple[ValueType, ...]
    samples: tuple[Sample, ...]
    time_unix_nano: int
    """When it began; for a snapshot, when that was taken."""
    duration_nanos: int = 0
    """0 for a snapshot."""
    default_type: str = ""
    """The type of the values that a viewer shows first; empty is that of the last value type."""
    period_type: ValueType | None = None
    """What lay between two samples, and ``period`` of it; None where nothing was sampled."""
    period: int = 0
    comments: tuple[str, ...] = ()
    """How it was taken, and what about it is not exact."""
