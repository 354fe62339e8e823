"""Heap profiles by tracemalloc: each block, with the lines it was allocated at."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .heap import VALUE_TYPES
from .profile import Frame, Profile, Sample, Stack

MOST_FRAMES = 8  # each costs time at each allocation

SCOPE = "exact, by tracemalloc: Python's allocators, and what reports to it, such as data of numpy"
NO_ALLOC = "alloc_objects and alloc_space are 0: tracemalloc forgets what is freed"
STOPPED = "tracemalloc was stopped by someone else: nothing is known"

COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")

_MOST_WRAPPERS = 16  # around each other

Line = tuple[str, int]
"""A file and a line in it."""


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
            found = tracemalloc.take_snapshot()
        except RuntimeError:  # not tracing
            return self._last or self._profile((), STOPPED)
        return self._of(found)

    def _of(self, snapshot: tracemalloc.Snapshot) -> Profile:
        statistics = snapshot.statistics("traceback")
        names = Names({(frame.filename, frame.lineno) for found in statistics for frame in found.traceback})
        merged: dict[Stack, tuple[int, int]] = {}
        for found in statistics:
            stack = names.stack([(frame.filename, frame.lineno) for frame in reversed(found.traceback)])
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
        try:
            found = tracemalloc.take_snapshot()
        except RuntimeError:
            return self.profile()
        if self._is_ours:
            tracemalloc.stop()
        self._last = self._of(found)  # what this allocates need not be traced
        return self._last

    def begin_child(self) -> bool:
        return True


class Names:
    """The functions at lines, which are all that tracemalloc tells: those whose code has the line.

    Only what lives is found. What has no name is the body of a module, most likely.
    """

    def __init__(self, wanted: set[Line]) -> None:
        # Of each line the functions that have it, those before others that are defined within them.
        self._at: dict[Line, list[Frame]] = {}
        for code in _codes({filename for filename, _ in wanted}):
            for line in {line for _, _, line in code.co_lines() if (code.co_filename, line) in wanted}:
                self._at.setdefault((code.co_filename, line or 0), []).append(Frame.of(code, line))

    def stack(self, lines: list[Line]) -> Stack:
        """Of lines, the innermost first."""
        return tuple(self._frame(lines, index) for index in range(len(lines)))

    def _frame(self, lines: list[Line], index: int) -> Frame:
        here = lines[index]
        frames = self._at.get(here)
        if not frames:
            return Frame("<module>", *here)
        # A comprehension and the function around it have the same line twice in the stack. A line that is
        # there once is the function's: no other calls a comprehension.
        before = next((n for n in range(index) if lines[index - 1 - n] != here), index)
        is_alone = before == 0 and lines[index + 1 : index + 2] != [here]
        if is_alone:
            frames = [frame for frame in frames if not frame.function.endswith(COMPREHENSIONS)] or frames
        return frames[max(len(frames) - 1 - before, 0)]


def _codes(filenames: set[str]) -> Iterator[CodeType]:
    """The code of the functions of those files, what is defined within a function after it."""
    waiting = [code for code in _outer_codes() if code.co_filename in filenames]
    for code in waiting:
        yield code
        waiting.extend(found for found in code.co_consts if type(found) is CodeType)


def _outer_codes() -> Iterator[CodeType]:
    """The code of functions and methods of all modules.

    Not of all objects that the garbage collector knows: among them are tuples that other threads are about to
    make, and whoever holds a reference to one has their code raise SystemError.
    """
    seen = set()
    waiting: list[Any] = [vars(module) for module in list(sys.modules.values()) if type(module) is ModuleType]
    for names in waiting:
        for found in list(names.values()):
            inner = _inner(found)
            if type(inner) is FunctionType and id(inner.__code__) not in seen:
                seen.add(id(inner.__code__))
                yield inner.__code__
            elif issubclass(type(inner), type) and id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(type.__getattribute__(inner, "__dict__"))


def _inner(found: Any) -> Any:
    # By the type itself, since __class__ and __wrapped__ of an object may be code of its own.
    kind = type(found)
    if kind is classmethod or kind is staticmethod:
        return found.__func__
    if kind is property:
        return found.fget
    for _ in range(_MOST_WRAPPERS):
        if type(found) is not FunctionType or "__wrapped__" not in found.__dict__:
            break
        found = found.__dict__["__wrapped__"]
    return found
