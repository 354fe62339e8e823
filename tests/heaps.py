"""What a heap profile says of a function, and who the allocators of this process are."""

from __future__ import annotations

import ctypes
from typing import Any

from otlpfast.profiling import Profile

MIB = 1 << 20


def found(profile: Profile, function: str, type: str = "inuse_space") -> int:
    """The sum of the samples whose stack has that function, by the end of its name."""
    index = [value.type for value in profile.value_types].index(type)
    samples = (s for s in profile.samples if any(f.function.split(".")[-1] == function for f in s.stack))
    return sum(sample.values[index] for sample in samples)


def lines(profile: Profile, function: str, type: str = "inuse_space") -> dict[int, int]:
    """The same by the line of that function, the innermost of its calls."""
    index = [value.type for value in profile.value_types].index(type)
    sums: dict[int, int] = {}
    for sample in profile.samples:
        places = [frame.line for frame in sample.stack if frame.function.split(".")[-1] == function]
        if places:
            sums[places[0]] = sums.get(places[0], 0) + sample.values[index]
    return sums


class _Allocator(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free")]


def allocators() -> list[list[Any]]:
    """Context and functions of Python's three allocators, as the interpreter calls them."""
    seen = []
    for domain in range(3):
        allocator = _Allocator()
        ctypes.pythonapi.PyMem_GetAllocator(domain, ctypes.byref(allocator))
        seen.append([getattr(allocator, field[0]) for field in _Allocator._fields_])
    return seen
