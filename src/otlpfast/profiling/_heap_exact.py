"""Heap profiles by tracemalloc: each block, with the lines it was allocated at."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType

from .heap import VALUE_TYPES
from .profile import Frame, Profile, Sample, Stack

MOST_FRAMES = 25  # each costs time at each allocation

SCOPE = "exact, by tracemalloc: Python's allocators, and what reports to it, such as data of numpy"
NO_ALLOC = "alloc_objects and alloc_space are 0: tracemalloc forgets what is freed"
STOPPED = "tracemalloc was stopped by someone else: nothing is known"

Places = dict[tuple[str, int], Frame]
"""The function at a line of a file."""


class ExactEngine:
    """Has tracemalloc trace; leaves it on if it was. Goes on in a forked child, as tracemalloc does.

    reason: why it is this engine, for the profile.
    """

    def __init__(self, reason: str = "") -> None:
        self._comments = tuple(filter(None, (reason, SCOPE, NO_ALLOC)))
        self._last: Profile | None = None
        self._is_ours = not tracemalloc.is_tracing()
        if self._is_ours:
            tracemalloc.start(MOST_FRAMES)

    def profile(self) -> Profile:
        try:
            statistics = tracemalloc.take_snapshot().statistics("traceback")
        except RuntimeError:  # not tracing
            return self._last or self._profile((), STOPPED)
        places = _places({frame.filename for found in statistics for frame in found.traceback})
        merged: dict[Stack, tuple[int, int]] = {}
        for found in statistics:
            lines = ((frame.filename, frame.lineno) for frame in reversed(found.traceback))
            stack = tuple(places.get(at) or Frame(*_unnamed(*at)) for at in lines)
            count, size = merged.get(stack, (0, 0))
            merged[stack] = count + found.count, size + found.size
        return self._profile(Sample(stack, (0, 0, *used)) for stack, used in merged.items())

    def _profile(self, samples: Iterable[Sample], *more: str) -> Profile:
        return Profile(
            kind="heap",
            value_types=VALUE_TYPES,
            samples=tuple(samples),
            time_unix_nano=time.time_ns(),
            default_type="inuse_space",
            comments=(*self._comments, *more),
        )

    def end(self) -> Profile:
        self._last = self.profile()
        if self._is_ours:
            tracemalloc.stop()
        return self._last

    def begin_child(self) -> bool:
        return True


def _unnamed(filename: str, line: int) -> tuple[str, str, int]:
    # What belongs to no function that lives: the body of a module, most likely.
    return "<module>", filename, line


def _places(filenames: set[str]) -> Places:
    """tracemalloc tells lines alone: the functions are those whose code has them."""
    places: Places = {}
    for code in _codes(filenames):
        for _, _, line in code.co_lines():
            if line is not None:
                places[code.co_filename, line] = Frame.of(code, line)
    return places


def _codes(filenames: set[str]) -> Iterator[CodeType]:
    """The code of all functions of those files, what is defined within a function after it."""
    # The type itself, since __class__ of an object may be code of its own.
    functions = (found for found in gc.get_objects() if type(found) is FunctionType)
    codes = {id(code): code for function in functions if (code := function.__code__)}
    waiting = [code for code in codes.values() if code.co_filename in filenames]
    waiting.sort(key=lambda code: getattr(code, "co_qualname", code.co_name).count("<locals>"))
    for code in waiting:
        yield code
        waiting.extend(inner for inner in code.co_consts if type(inner) is CodeType)
