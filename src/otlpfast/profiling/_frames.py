"""What all threads are doing, in plain Python: where there is no compiled sampler."""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from .profile import Frame, Stack

MOST_FRAMES = 512

Place = tuple[CodeType, int]
"""A code object and the offset of an instruction in it."""

_call: Any = types.BuiltinFunctionType.__call__


def current_frames() -> dict[int, FrameType]:
    """``sys._current_frames()``, by ident of the threads."""
    # A collection of garbage in there, which newer Pythons don't begin, may let in a thread that waits for a
    # lock that is held: for ever (cpython#106883). As one call from C, no thread sees the collector disabled.
    if sys.version_info < (3, 12) and gc.isenabled():
        frames: dict[int, FrameType]
        try:
            _, frames, _ = map(_call, (gc.disable, sys._current_frames, gc.enable))
        except BaseException:
            gc.enable()
            raise
        return frames
    return sys._current_frames()


def walk(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and its callers."""
    for _ in range(MOST_FRAMES):
        if frame is None:
            break
        yield frame
        frame = frame.f_back


def places_of(frame: FrameType | None) -> tuple[Place, ...]:
    """Where a frame and its callers are, the innermost first."""
    places: list[Place] = []
    while frame is not None and len(places) < MOST_FRAMES:
        places.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(places)


class Lines:
    """Frames of places; one object for each."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int | None], tuple[CodeType, Frame]] = {}

    def frame(self, code: CodeType, line: int | None) -> Frame:
        """Of a code object at a line."""
        # By identity: code objects are equal that are compiled alike, and comparing them takes long. It is
        # kept with the frame, so that no other can get its address.
        key = id(code), line
        if key not in self._known:
            self._known[key] = code, Frame.of(code, line)
        return self._known[key][1]

    def stack(self, places: tuple[Place, ...]) -> Stack:
        """Of places as ``places_of()`` gives them."""
        return tuple(self.frame(code, line_of(code, instruction)) for code, instruction in places)


def line_of(code: CodeType, instruction: int) -> int | None:
    """The line of an instruction."""
    if instruction < 0:
        return code.co_firstlineno
    for start, end, line in code.co_lines():
        if start <= instruction < end:
            return line
    return None
